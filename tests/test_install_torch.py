"""Which build of torch `tools/install_torch.py` takes, with a machine made of answers to commands."""

from __future__ import annotations

import itertools
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import install_torch

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = "torch (2.15.0)\nAvailable versions: 2.15.0, 2.13.0, 2.12.1\n  INSTALLED: 2.13.0+cpu"
CPU_VERSIONS = "torch (2.15.0)\nAvailable versions: 2.15.0, 2.13.0+cpu, 2.13.0, 2.12.1"


class Machine:
    """Answers a command with what it would print there, or None where it would fail. `installs`: what was installed."""

    def __init__(
        self,
        *,
        torch: str | None = None,
        gpu: bool = False,
        versions: str | None = VERSIONS,
        uv: bool = True,
        cpu_index: bool = True,
        registry: bool = True,
    ) -> None:
        self.torch, self.gpu, self.versions = torch, gpu, versions
        self.uv, self.cpu_index, self.registry = uv, cpu_index, registry
        self.installs: list[str] = []

    def __call__(self, command: Sequence[str], limit_seconds: float | None) -> str | None:
        line = " ".join(command).replace(sys.executable, "python")
        question = limit_seconds is not None
        if "import torch" in line:
            assert question
            return self.torch
        if line.startswith("nvidia-smi"):
            assert question
            return "GPU 0: NVIDIA H200" if self.gpu else None
        if "index versions" in line:
            assert question
            return self.versions
        if "--target" in line:
            return "" if self.uv else None
        if "--torch-backend=cpu" in line:
            assert question == ("--dry-run" in line)
            works = self.cpu_index
        else:
            works = self.registry
        if works and not question:
            self.installs.append(re.sub(r"^\S*/bin/uv", "uv", line))
        return "" if works else None

    def install(self, platform: str = "linux") -> list[str]:
        install_torch.install("2.13.0", self, platform=platform)
        return self.installs


PIP = f"python -m pip install -c {ROOT / 'constraints.txt'} torch==2.13.0"


@pytest.mark.parametrize("build", ["2.13.0\n", "2.13.0+cpu\n", "2.13.0+cu130\n"])
def test_an_installed_torch_of_the_pinned_version_is_kept(build: str) -> None:
    assert Machine(torch=build).install() == []


def test_another_version_is_replaced() -> None:
    assert Machine(torch="2.13.1\n", gpu=True).install() == [PIP]


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_the_ordinary_build_is_right_outside_linux(platform: str) -> None:
    assert Machine(versions=CPU_VERSIONS).install(platform) == [PIP]


def test_the_ordinary_build_is_right_with_a_gpu() -> None:
    assert Machine(gpu=True, versions=CPU_VERSIONS).install() == [PIP]


def test_pip_installs_the_cpu_build_where_it_finds_one() -> None:
    assert Machine(versions=CPU_VERSIONS).install() == [PIP + "+cpu"]


@pytest.mark.parametrize("versions", [VERSIONS, None])
def test_uv_installs_the_cpu_build_where_pip_finds_none(versions: str | None) -> None:
    uv = "uv pip install --python python --torch-backend=cpu --no-deps torch==2.13.0"
    assert Machine(versions=versions).install() == [uv]


@pytest.mark.parametrize("missing", ["uv", "cpu_index"])
def test_the_ordinary_build_is_the_last_resort_and_says_so(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert Machine(uv=missing != "uv", cpu_index=missing != "cpu_index").install() == [PIP]
    assert "CUDA build" in capsys.readouterr().out


def test_an_error_when_nothing_works() -> None:
    with pytest.raises(SystemExit, match=r"torch 2\.13\.0 could not be installed"):
        Machine(uv=False, registry=False).install()


def test_pinned_reads_constraints() -> None:
    assert install_torch.pinned("torch", "torchvision==0.28.0\ntorch==2.13.0\n") == "2.13.0"
    with pytest.raises(SystemExit, match="no line torch==VERSION"):
        install_torch.pinned("torch", "torchvision==0.28.0\n")


def test_run_answers_questions_and_reports_failure(capfd: pytest.CaptureFixture[str]) -> None:
    python = [sys.executable, "-c"]
    assert install_torch.run([*python, "print('answer')"], 30.0) == "answer\n"
    assert capfd.readouterr().out == ""
    assert install_torch.run([*python, "print('shown')"]) == ""
    assert capfd.readouterr().out == "shown\n"
    assert install_torch.run([*python, "raise SystemExit(1)"], 30.0) is None
    assert install_torch.run([*python, "import time; time.sleep(30)"], 0.2) is None
    assert install_torch.run(["/no/such/program"]) is None


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    constraints = (ROOT / "constraints.txt").read_text()
    lines = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    for requirement in map(Requirement, lines):
        if requirement.name != "oddwatch":
            assert install_torch.pinned(requirement.name, constraints) in requirement.specifier, requirement
