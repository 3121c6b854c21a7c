"""Pretrained weights: what is published, where a file of them is, and what is in it. Never pickled code."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from oddwatch.backbones.pins import check_pin
from oddwatch.errors import MissingExtraError, WeightsError
from oddwatch.files import sha256_of

if TYPE_CHECKING:
    import torch

RANDOM = "random"
PUBLISHED = "published"
_REACH_SECONDS = 3.0
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "ODDWATCH_OFFLINE")


@dataclass(frozen=True)
class WeightsRecord:
    """Weights that somebody published.

    url: of a file, or hub: "owner/name" on the Hugging Face hub, of which the first of `files` that is there is taken.
    sha256: the first hexadecimal digits that are published; empty where none are, then `sha256_unknown` says why.
    licence: of the weights; non_commercial: whether it forbids commercial use. top1: Kinetics-400 accuracy in percent,
    as published with the weights, None where it is not.
    """

    licence: str
    url: str = ""
    hub: str = ""
    files: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    revision: str = "main"
    sha256: str = ""
    sha256_unknown: str = ""
    non_commercial: bool = False
    top1: float | None = None

    def __str__(self) -> str:
        return self.url or self.hub


def find_weights(
    name: str, record: WeightsRecord, weights: str, *, notice: Callable[[str], None] | None = None
) -> Path | None:
    """The file of `weights`: `published` (fetched once, then from the standard cache), or a path; None for `random`.

    notice: told in words before a download, and the checksum that is pinned after it where none is published in full.
    Raises WeightsError: no such file, no network, another checksum than published or pinned, a full disk.
    """
    if weights == RANDOM:
        return None
    if weights != PUBLISHED:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise WeightsError(f"{weights}: no such file of weights for {name}")
        return path
    offline = next((v for v in _OFFLINE if os.environ.get(v, "").lower() in ("1", "true", "yes", "on")), None)
    say = notice or (lambda text: None)
    path = _from_hub(name, record, offline, say) if record.hub else _from_url(name, record, offline, say)
    found = sha256_of(path)
    if not found.startswith(record.sha256):
        raise WeightsError(
            f"{path} is not the published file for {name}: its sha256 begins with {found[:12]}, published is "
            f"{record.sha256} (delete it and fetch it again)"
        )
    if len(record.sha256) < len(found):
        check_pin(name, record.url or f"{record.hub}@{record.revision}/{path.name}", path, found, say)
    return path


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Names and tensors of a safetensors file or a checkpoint. Code in a checkpoint is never run.

    Raises WeightsError: damaged, holds anything but tensors and plain values, or no tensors at all.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is damaged or no file of weights (a safetensors file or a checkpoint of torch)"
        ) from error
    except Exception as error:  # torch raises pickle.UnpicklingError, a plain Exception, for code
        raise WeightsError(f"{path} holds more than weights and is not trusted: {_first_line(error)}") from error
    for key in ("model_state", "state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not (isinstance(found, dict) and found and all(isinstance(v, torch.Tensor) for v in found.values())):
        raise WeightsError(f"{path} holds no weights (names and tensors)")
    return found


def load_strictly(network: torch.nn.Module, path: Path, name: str) -> None:
    """Put the weights of a file into a network; every name and shape must fit. Raises WeightsError.

    A network of transformers also takes the names that older versions of that library gave, which published files have.
    """
    state, expected = load_state(path), network.state_dict()
    if state.keys() != expected.keys() and hasattr(network, "base_model_prefix"):
        state = renamed(network, state)
    missing = [key for key in expected if key not in state]
    strange = [key for key in state if key not in expected]
    shapes = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    problems = [
        f"{len(keys)} {what} ({keys[0]})"
        for what, keys in (("missing", missing), ("unknown", strange), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise WeightsError(f"{path} does not fit {name}: of {len(expected)} tensors {', '.join(problems)}")
    network.load_state_dict(state)


def renamed(network: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """With the names of today, by the table that transformers keeps for its own reading of older files."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    table = get_model_conversion_mapping(network, add_legacy=False)
    renamings = [entry for entry in table if isinstance(entry, WeightRenaming)]
    return {rename_source_key(name, renamings, [])[0]: tensor for name, tensor in state.items()}


def _from_url(name: str, record: WeightsRecord, offline: str | None, say: Callable[[str], None]) -> Path:
    # torch.hub's place, without the seconds that an import of torch takes.
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    path = Path(home).expanduser() / "hub" / "checkpoints" / record.url.rpartition("/")[2]
    if path.is_file():
        return path
    if offline:
        raise _nowhere(name, record, f"{offline} is set")
    try:
        _reach(record.url)
    except OSError as error:
        raise _nowhere(name, record, _first_line(error)) from error
    say(_about(name, record))
    from torch.hub import download_url_to_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(record.url, str(path), hash_prefix=record.sha256 or None, progress=True)
    except RuntimeError as error:
        raise WeightsError(f"{record.url}: what arrived is not what was published: {_first_line(error)}") from error
    except OSError as error:
        raise _not_fetched(name, record, error, path.parent) from error
    return path


def _from_hub(name: str, record: WeightsRecord, offline: str | None, say: Callable[[str], None]) -> Path:
    try:
        from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError(f"the backbone {name}", "transformers", "backbones") from error

    for file in record.files:
        found = try_to_load_from_cache(record.hub, file, revision=record.revision)
        if isinstance(found, str):
            return Path(found)
    if offline:
        raise _nowhere(name, record, f"{offline} is set")
    try:
        _reach(constants.ENDPOINT)
    except OSError as error:
        raise _nowhere(name, record, f"the hub cannot be reached: {_first_line(error)}") from error
    say(_about(name, record))
    for file in record.files:
        try:
            return Path(hf_hub_download(record.hub, file, revision=record.revision, etag_timeout=3))
        except LocalEntryNotFoundError as error:
            raise _nowhere(name, record, "the hub cannot be reached") from error
        except EntryNotFoundError:
            continue
        except (OSError, HfHubHTTPError) as error:
            cache = Path(constants.HF_HUB_CACHE)
            if _is_full(error):  # what the library keeps to go on from later
                for part in cache.glob(f"models--{record.hub.replace('/', '--')}/blobs/*.incomplete"):
                    part.unlink(missing_ok=True)
            raise _not_fetched(name, record, error, cache) from error
    raise _nowhere(name, record, f"{record.hub} has none of {', '.join(record.files)}")


def _reach(address: str) -> None:
    """Raises OSError soon where there is no network: the libraries import for seconds, or try for half a minute."""
    with suppress(HTTPError):  # somebody answered
        urlopen(Request(address, method="HEAD"), timeout=_REACH_SECONDS).close()


def _about(name: str, record: WeightsRecord) -> str:
    warning = "; NOT for commercial use" if record.non_commercial else ""
    return f"fetching the weights of {name} from {record} (licence: {record.licence}{warning})"


def _nowhere(name: str, record: WeightsRecord, why: str) -> WeightsError:
    return WeightsError(
        f"no weights for {name}: {why}. Three ways out: run `oddwatch backbones pull {name}` where there is a network "
        f"and copy the cache; give a file you have with --weights PATH ({record}); or use a backbone that needs none, "
        "such as motion"
    )


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _not_fetched(name: str, record: WeightsRecord, error: Exception, folder: Path) -> WeightsError:
    if not _is_full(error):
        return _nowhere(name, record, _first_line(error))
    place = "HF_HOME" if record.hub else "TORCH_HOME"
    return WeightsError(
        f"no weights for {name}: {folder} is full ({_first_line(error)}): free some space there, or set {place} to a "
        "folder with more"
    )


def _first_line(error: Exception) -> str:
    if isinstance(error, URLError):
        return str(getattr(error.reason, "strerror", None) or error.reason)
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
