"""The published experiment in small, from rendered clips to its table: that everything runs, in minutes, on two cores.

    python benchmarks/experiment.py [--out experiment] [--clips 15] [--seed 42] [--only NAME...]
                                    [--manifest CSV] [--full]

Ten rendered actions, seven of them allowed; the six configurations of `configs/` with small networks of the same
families and few epochs, and the motion backbone. The networks have random weights, and every row says so: their figures
say nothing about the method. Each step is a command that is printed before it runs, and is left out when its result is
there: after an interruption the same command goes on. --only: these configurations alone, such as motion.
--manifest: on these clips, made by `oddwatch dataset prepare`, instead of rendered ones. --full: the frozen
configurations with their networks at full size, computed by OpenVINO, for the published number of epochs.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from oddwatch.backbones.openvino_runtime import openvino_knows_bfloat16
from oddwatch.errors import OddwatchError, UsageError
from oddwatch.files import write_text
from oddwatch.scenes import ACTIONS, ALLOWED, FORBIDDEN, Action
from oddwatch.video import VideoWriter

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
EPOCHS, FROM_EPOCH = 12, 8
SMALL: dict[str, dict[str, Any]] = {
    "timesformer": {"size_px": 64, "model": {"num_hidden_layers": 2, "intermediate_size": 256}},
    "slowfast-r50": {"frames": 8, "size_px": 224, "model": {"depths": [1, 1, 1, 1]}},
    "r2plus1d-18": {"size_px": 48},
}
"""What makes a network small: options of its backbone. R(2+1)D has no smaller depth, so its pictures are smaller."""
TENSORS = {"slowfast-r50-v2": 12}
"""What learns, where the small network has fewer tensors: the last block of SlowFast's fast pathway has 12."""
NAMES = ("motion", *(f"{family}-{version}" for family in SMALL for version in ("v1", "v2")))


def main() -> None:
    """Render, prepare, train, evaluate, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("experiment"))
    parser.add_argument("--clips", type=int, default=15, help="of each action")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--manifest", type=Path, metavar="CSV")
    parser.add_argument("--full", action="store_true")
    a = parser.parse_args()
    try:
        run(a.out, a.clips, a.seed, a.only, manifest=a.manifest, full=a.full)
    except OddwatchError as error:
        sys.exit(f"experiment: {error}")
    except subprocess.CalledProcessError as error:  # it has said why
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        print("experiment: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)


def run(
    out: Path, clips: int, seed: int, names: list[str], *, manifest: Path | None = None, full: bool = False
) -> None:
    """All steps. Raises UsageError for a folder of another experiment, CalledProcessError for a step that failed."""
    began = time.monotonic()
    settings: dict[str, Any] = {"clips": clips} if manifest is None else {"manifest": str(manifest), "full": full}
    settings["seed"], note = seed, out / "experiment.json"
    if note.exists():
        if (there := json.loads(note.read_text(encoding="utf-8"))) != settings:
            raise UsageError(f"{out} holds an experiment with {there}: give that, or another --out")
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no experiment: give another --out")
    write_text(note, json.dumps(settings) + "\n")
    if manifest is None:
        manifest = rendered(out, clips, seed)
    runs = [out / "runs" / name for name in names]
    common = ["--cache", out / "embeddings"]
    for name, folder in zip(names, runs, strict=True):
        if (state := _state(folder)) != "finished":
            resume = ["--resume"] if state else []
            oddwatch(
                "train",
                *config(name, full=full),
                "--seed",
                seed,
                "--manifest",
                manifest,
                "--out",
                folder,
                *common,
                *resume,
            )
        if not (folder / "evaluation" / "evaluation.json").exists():
            oddwatch("evaluate", "run", folder, *common)
    oddwatch("compare", *runs, "--out", out / "comparison", *common)
    print(f"{time.monotonic() - began:.0f} s. Everything is in {out}.")


def rendered(out: Path, clips: int, seed: int) -> Path:
    """The manifest of rendered clips, made where it is not there."""
    render(out / "clips", clips, seed)
    manifest = out / "prepared" / "manifest.csv"
    if not manifest.exists():
        classes = ["--normal", ",".join(ALLOWED), "--anomalous", ",".join(FORBIDDEN)]
        oddwatch("dataset", "prepare", "folders", out / "clips", manifest.parent, *classes, "--seed", seed)
    return manifest


def render(folder: Path, clips: int, seed: int) -> None:
    """So many clips of each action, in a folder for each."""
    print(f"rendering {clips} clips of each of {', '.join(ACTIONS)} into {folder}", flush=True)
    for kind in ACTIONS:
        for number in range(clips):
            path = folder / kind / f"{number:02d}.mp4"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                action = Action(kind, seed=1000 * seed + number)
                with VideoWriter(path, fps=action.fps) as writer:
                    for frame in action:
                        writer.write(frame.image)


def config(name: str, *, full: bool = False) -> list[str]:
    """The configuration file of a run and what is changed in it, as arguments of `oddwatch train`."""
    changes: dict[str, Any] = {"data.clips_per_class": 0, "data.scale_px": None}
    full = full and not name.endswith("v2")
    if name == "motion":
        file = CONFIGS / "timesformer-v1.yaml"  # of it the autoencoder and its optimiser are left
        changes |= {"backbone.name": "motion", "backbone.weights": None}
    else:
        file = CONFIGS / f"{name}.yaml"
        changes |= {"backbone.weights": "random", "backbone.options": fast() if full else SMALL[name[:-3]]}
        changes["trainer.accelerator"] = "cpu"
    if name.endswith("v2"):
        changes["fine_tune.from_epoch"] = FROM_EPOCH
    if name in TENSORS:
        changes["fine_tune.tensors"] = TENSORS[name]
    given = [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return [str(file), *([] if full else ["--epochs", str(EPOCHS)]), *given]


def fast() -> dict[str, Any]:
    """How a frozen network of full size is computed: in bfloat16 where the processor has it."""
    return {"runtime": "openvino", "precision": "bfloat16" if openvino_knows_bfloat16() else "float32"}


def oddwatch(*arguments: Any) -> None:
    """Run a command, after printing it, with two threads unless OMP_NUM_THREADS says otherwise: figures depend on how
    many, because the last bits of a convolution do, and training enlarges them.
    """
    words = [str(argument) for argument in arguments]
    print(f"\n$ oddwatch {shlex.join(words)}", flush=True)
    environment = {"OMP_NUM_THREADS": "2", **os.environ}
    subprocess.run([sys.executable, "-m", "oddwatch", *words], check=True, env=environment)


def _state(folder: Path) -> str | None:
    """What a run folder says of itself, None when there is no run."""
    record = folder / "run.json"
    if not record.exists():
        return None
    state: str = json.loads(record.read_text(encoding="utf-8")).get("state", "")
    return state


if __name__ == "__main__":
    main()
