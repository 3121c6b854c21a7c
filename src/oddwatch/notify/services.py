"""E-mail, Telegram, Slack and a hundred others, by Apprise."""

from __future__ import annotations

import logging
import warnings
from datetime import datetime
from typing import Any

from oddwatch.addresses import Redactor, host_only
from oddwatch.errors import MissingExtraError, UsageError
from oddwatch.notify.base import DELIVERED, Message, Outcome, Sink

_LOG = logging.getLogger("apprise")
_SILENT = logging.NullHandler()


class Service(Sink):
    """url: an address of Apprise. Redirects are not followed, nothing is kept on the disk. Raises UsageError for an
    address that Apprise does not take, MissingExtraError.
    """

    def __init__(self, name: str, url: str, *, thumbnail: bool = True, timeout_seconds: float = 20.0) -> None:
        super().__init__(name)
        try:
            from apprise import Apprise, AppriseAsset
        except ImportError as error:
            raise MissingExtraError("a sink of Apprise", "apprise", "watch") from error
        self.shown = host_only(url)
        self._thumbnail, self._seconds = thumbnail, timeout_seconds
        self._clean = Redactor([url, *url.partition("://")[2].split("/")])
        asset = AppriseAsset(
            app_id="oddwatch",
            app_desc="oddwatch",
            http_redirects=False,
            pem_autogen=False,
            pgp_autogen=False,
            storage_mode="memory",
        )
        self._service = Apprise(asset=asset)
        # The outcome says what there is to say; who listens to Apprise's own log sees no secrets there either.
        _LOG.propagate = False
        _LOG.addHandler(_SILENT)
        _LOG.addFilter(self._clean)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Apprise imports all of its services here
            service = Apprise.instantiate(url, asset=asset)
        if service is None:
            raise UsageError(f"Apprise does not take the address of sink {name}, {self.shown}: see its documentation")
        self._service.add(service)

    def deliver(self, message: Message, *, now: datetime) -> Outcome:
        from apprise import AppriseAttachment
        from apprise.attachment.memory import AttachMemory

        attachments: Any = None
        if self._thumbnail and message.thumbnail is not None:
            attachments = AppriseAttachment()
            picture: Any = AttachMemory
            attachments.add(picture(message.thumbnail, name="thumbnail.jpg", mimetype="image/jpeg"))
        said: list[str] = []
        result = self._service.notify(
            message.text,
            title=message.title,
            attach=attachments,
            timeout=self._seconds,
            log_callback=lambda entry, _: said.append(entry.message),
            log_level=logging.WARNING,
        )
        if result:
            return DELIVERED
        reason = " ".join(said[-1].split()) if said else f"no answer within {self._seconds:g} s"
        return Outcome("later", self._clean(f"{self.shown}: {reason}"))

    def close(self) -> None:
        """Nothing more is sent."""
        _LOG.removeFilter(self._clean)
