"""Which way of computing a backbone is fastest on this machine: measured when asked for, kept in a small file.

compared = measure(backbone)
keep(backbone, compared)
best_for(backbone)  # in any later process
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch import __version__
from oddwatch.backbones.compute import Compute, Pixels, knows_bfloat16, processor
from oddwatch.backbones.pretrained import PretrainedBackbone
from oddwatch.errors import UsageError
from oddwatch.files import write_text

MAX_ERROR = 0.01
"""How far a pair may move embeddings from float32 in torch, to be chosen."""
_FORMAT = 1


@dataclass(frozen=True)
class Measured:
    """clips_per_second: median of the rounds. relative_error: of vectors and grids, against float32 in torch."""

    runtime: str
    precision: str
    clips_per_second: float
    relative_error: float


def relative_error(one: PretrainedBackbone, other: PretrainedBackbone) -> float:
    """How far the embeddings of the same fixed clip are apart: |a - b| / |b|, the larger of vector and grid."""
    clip = fixed_clip(one)
    return max(_apart(a, b) for a, b in zip(one.embed(clip), other.embed(clip), strict=True))


def fixed_clip(backbone: PretrainedBackbone) -> Pixels:
    """(1, T, H, W, 3) of seeded noise: the same in every process."""
    i = backbone.input
    noise = np.random.default_rng(0).normal(size=(1, i.frames, i.size_px, i.size_px, 3))
    return noise.astype(np.float32)


def _apart(a: Pixels | None, b: Pixels | None) -> float:
    assert a is not None
    assert b is not None
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def pairs() -> list[Compute]:
    """What this machine can do on its CPU, float32 in torch first."""
    runtimes = ["torch"] + (["openvino"] if importlib.util.find_spec("openvino") else [])
    precisions = {"torch": ["float32"] + (["bfloat16"] if knows_bfloat16() else []), "openvino": ["float32"]}
    if "openvino" in runtimes:
        from oddwatch.backbones.openvino_runtime import openvino_knows_bfloat16

        precisions["openvino"] += ["bfloat16"] if openvino_knows_bfloat16() else []
    return [Compute(runtime, precision) for runtime in runtimes for precision in precisions[runtime]]


def measure(backbone: PretrainedBackbone, *, rounds: int = 5) -> list[Measured]:
    """Every pair, one clip at a time. They take turns, so that other work on the machine disturbs all alike."""
    made = [backbone.computed(runtime=pair.runtime, precision=pair.precision) for pair in pairs()]
    errors = [relative_error(one, made[0]) for one in made]  # this is the first run of each, too, which is slow
    clip = fixed_clip(backbone)
    seconds: list[list[float]] = [[] for _ in made]
    for _ in range(rounds):
        for one, times in zip(made, seconds, strict=True):
            began = time.perf_counter()
            one.embed(clip)
            times.append(time.perf_counter() - began)
    return [
        Measured(one.compute.runtime, one.compute.precision, 1 / float(np.median(times)), error)
        for one, times, error in zip(made, seconds, errors, strict=True)
    ]


def best(measured: list[Measured]) -> Measured:
    """The fastest of those that move embeddings by `MAX_ERROR` at most. float32 in torch moves nothing."""
    return max((m for m in measured if m.relative_error <= MAX_ERROR), key=lambda m: m.clips_per_second)


def keep(backbone: PretrainedBackbone, measured: list[Measured]) -> Path:
    """Write the best pair, and what was measured, into the user's configuration. Raises OddwatchError."""
    path = _file()
    entries = [entry for entry in _entries(path) if entry.get("for") != _key(backbone)]
    chosen = best(measured)
    entries.append(
        {
            "for": _key(backbone),
            "runtime": chosen.runtime,
            "precision": chosen.precision,
            "measured": [asdict(m) for m in measured],
        }
    )
    write_text(path, json.dumps({"format": _FORMAT, "tuned": entries}, indent=1))
    return path


def best_for(backbone: PretrainedBackbone) -> tuple[str, str]:
    """(runtime, precision) that was measured to be best. Raises UsageError when nothing was measured for this backbone
    on this processor with these versions.
    """
    for entry in _entries(_file()):
        if entry.get("for") == _key(backbone):
            return entry["runtime"], entry["precision"]
    raise UsageError(
        f"nothing was measured for {backbone.record.name} on this machine with the versions installed now: run "
        f"oddwatch backbones tune {backbone.record.name}"
    )


def _key(backbone: PretrainedBackbone) -> dict[str, Any]:
    versions = {"oddwatch": __version__}
    for name in ("openvino", "torch"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    i = backbone.input
    return {
        "backbone": backbone.record.name,
        "clip": [i.frames, i.size_px],
        "processor": processor(),
        "versions": versions,
    }


def _file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home) / "oddwatch" / "tuned.json"


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != _FORMAT:
            raise ValueError
        return list(record["tuned"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read or is damaged: delete it and run oddwatch backbones tune") from error
