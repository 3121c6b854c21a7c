"""Install the torch that `constraints.txt` pins, as the CPU build where there is no NVIDIA GPU.

On Linux an ordinary `pip install torch` brings the CUDA build, several gigabytes, GPU or not. The CPU build has the
same version with `+cpu` behind it. Tried in this order, and the first that works is taken:

1. pip, which finds the CPU build where a mirror or a local folder of wheels offers it;
2. uv, which knows the place where PyTorch publishes its CPU builds;
3. whatever build the ordinary registry has, said in a line, because set-up must work where nothing else answers.

Run by the Python of the virtual environment that torch goes into. Uses the standard library only.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
REACH_SECONDS = 60.0
"""How long pip and uv may each look for the CPU build. The download itself has no limit."""

Run = Callable[[Sequence[str], float | None], str | None]
"""Runs a command within a number of seconds; returns what it printed, or None when it failed."""


def run(command: Sequence[str], limit_seconds: float | None = None) -> str | None:
    """Run a command. Its output is shown, unless it is a question: a question has a limit and an answer."""
    capture = subprocess.PIPE if limit_seconds is not None else None
    try:
        done = subprocess.run(command, stdout=capture, stderr=capture, text=True, timeout=limit_seconds)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout or "") if done.returncode == 0 else None


def pinned(name: str, constraints: str) -> str:
    """The version that `name` is pinned to in the text of a constraints file."""
    match = re.search(rf"^{re.escape(name)}==(\S+)$", constraints, re.MULTILINE)
    if match is None:
        raise SystemExit(f"{CONSTRAINTS}: no line {name}==VERSION")
    return match.group(1)


def has_gpu(run: Run) -> bool:
    """Whether the NVIDIA driver is there and sees a GPU."""
    return "GPU" in (run(["nvidia-smi", "-L"], 20.0) or "")


def installed(version: str, run: Run) -> bool:
    """Whether torch of this version, any build, can be imported already."""
    found = run([sys.executable, "-c", "import torch; print(torch.__version__)"], 120.0)
    return found is not None and found.strip().partition("+")[0] == version


def pip_offers(version: str, run: Run) -> bool:
    """Whether pip finds exactly this version of torch where it is set up to look."""
    answer = run([sys.executable, "-m", "pip", "index", "versions", "torch"], REACH_SECONDS) or ""
    match = re.search(r"^Available versions: (.*)$", answer, re.MULTILINE)
    return match is not None and version in match.group(1).split(", ")


def install_with_uv(version: str, run: Run) -> bool:
    """Install the CPU build with a uv that is there for this only. False: uv could not be had, or could not find it."""
    with tempfile.TemporaryDirectory() as folder:
        pip_uv = ["pip", "install", "--quiet", "--target", folder, "-c", str(CONSTRAINTS), "uv"]
        if run([sys.executable, "-m", *pip_uv], None) is None:
            return False
        uv = [str(Path(folder, "bin", "uv")), "pip", "install", "--python", sys.executable]
        cpu = ["--torch-backend=cpu", "--no-deps", f"torch=={version}"]
        return run([*uv, "--dry-run", *cpu], REACH_SECONDS) is not None and run([*uv, *cpu], None) is not None


def install(version: str, run: Run, *, platform: str = sys.platform) -> None:
    """Install torch of this version into the running Python's environment. Raises SystemExit when nothing works."""
    if installed(version, run):
        return
    pip = [sys.executable, "-m", "pip", "install", "-c", str(CONSTRAINTS)]
    if platform == "linux" and not has_gpu(run):
        print("No NVIDIA GPU: looking for the CPU build of torch.", flush=True)
        if pip_offers(f"{version}+cpu", run) and run([*pip, f"torch=={version}+cpu"], None) is not None:
            return
        if install_with_uv(version, run):
            return
        print(
            "The place where PyTorch publishes its CPU builds cannot be reached, so pip now installs the build that "
            "the package registry has. On x86 this is the CUDA build: it works without a GPU, but takes several "
            "gigabytes.",
            flush=True,
        )
    if run([*pip, f"torch=={version}"], None) is None:
        raise SystemExit(f"torch {version} could not be installed; what pip said stands above.")


if __name__ == "__main__":
    install(pinned("torch", CONSTRAINTS.read_text()), run)
