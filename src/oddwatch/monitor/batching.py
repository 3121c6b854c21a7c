"""Cameras with equal networks: one network for all of them, their clips embedded together."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakSet, WeakValueDictionary

from oddwatch.backbones import Backbone, EmbeddingStream
from oddwatch.backbones.clips import ClipBackbone, ClipStream, Pixels
from oddwatch.types import Embeddings
from oddwatch.windows import Window

GATHER_SECONDS = 0.01
"""How long a clip waits for those of other cameras while the network is idle."""


def is_heavy(backbone: type[Backbone]) -> bool:
    """Whether cameras with it had better share one."""
    return issubclass(backbone, ClipBackbone) and backbone.heavy


class Networks:
    """Gives streams to cameras. Those of equal networks (`Backbone.identity`) share one, as long as any of them lives;
    streams of backbones that have none are their own.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, _Network] = WeakValueDictionary()
        self._changing = threading.Lock()

    def stream(self, backbone: Backbone) -> EmbeddingStream:
        """As `Backbone.stream`, and raises as that does."""
        own = backbone.stream()  # what is missing is said now
        if not (isinstance(backbone, ClipBackbone) and is_heavy(type(backbone))):
            return own
        key = json.dumps(backbone.identity(), sort_keys=True)
        with self._changing:
            network = self._known.get(key)
            if network is None:
                self._known[key] = network = _Network(backbone)
            return network.stream()


@dataclass(eq=False)
class _Due:
    """Clips of one camera, and what came of them."""

    clips: Sequence[Window[Pixels]]
    found: Embeddings | None = None
    error: Exception | None = None
    done: bool = False


class _Network:
    """One network. Whoever comes while it is idle takes the others' clips along; whoever comes while it works waits,
    and is taken along next. So nothing is computed in two threads at once, and there is no thread to look after.
    """

    def __init__(self, backbone: ClipBackbone) -> None:
        self._backbone = backbone
        self._streams: WeakSet[EmbeddingStream] = WeakSet()
        self._waiting: list[_Due] = []
        self._changed = threading.Condition()
        self._busy = False

    def stream(self) -> EmbeddingStream:
        made = ClipStream(self._backbone, self.embed)
        with self._changed:
            self._streams.add(made)
        return made

    def embed(self, clips: Sequence[Window[Pixels]]) -> Embeddings:
        """Embeddings of clips of one camera. Raises what embedding them alone raises."""
        due = _Due(clips)
        with self._changed:
            self._waiting.append(due)
            self._changed.notify_all()
        while not due.done:
            with self._changed:
                self._changed.wait_for(lambda: due.done or not self._busy)
                if due.done:
                    break
                self._busy = True
                self._changed.wait_for(self._is_full, GATHER_SECONDS)
                together = self._take()
            try:
                self._embed_all(together)
            finally:
                with self._changed:
                    self._busy = False
                    for one in together:
                        one.done = True
                    self._changed.notify_all()
        if due.error is not None:
            raise due.error
        assert due.found is not None
        return due.found

    def _is_full(self) -> bool:
        """Whether there is nothing to wait for: a whole batch is there, or a clip of every camera."""
        clips = sum(len(one.clips) for one in self._waiting)
        return clips >= self._backbone.batch or len(self._waiting) >= len(self._streams)

    def _take(self) -> list[_Due]:
        """The first ones, a batch of them."""
        taken: list[_Due] = []
        clips = 0
        while self._waiting and (not taken or clips + len(self._waiting[0].clips) <= self._backbone.batch):
            taken.append(self._waiting.pop(0))
            clips += len(taken[-1].clips)
        return taken

    def _embed_all(self, together: Sequence[_Due]) -> None:
        try:
            found = self._backbone.embed_windows([clip for one in together for clip in one.clips])
        except Exception as error:
            if len(together) == 1:
                together[0].error = error
                return
            for one in together:  # only whose clips it is fails
                self._embed_all([one])
            return
        first = 0
        for one in together:
            one.found = found[first : first + len(one.clips)]
            first += len(one.clips)
