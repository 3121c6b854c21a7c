"""What people install: the wheel holds the package and its data files; its command works outside the repository."""

from __future__ import annotations

import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import oddwatch

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    shipped = set(zipfile.ZipFile(wheel).namelist())
    ours = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*") if path.is_file()}
    ours = {name for name in ours if "__pycache__" not in name}
    assert "oddwatch/py.typed" in ours
    assert {name for name in shipped if ".dist-info/" not in name} == ours
    info = f"oddwatch-{oddwatch.__version__}.dist-info"
    assert {f"{info}/licenses/LICENSE", f"{info}/entry_points.txt"} <= shipped


def test_python_dash_m_is_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["oddwatch", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("oddwatch", run_name="__main__")
    assert (capsys.readouterr().out.strip(), ended.value.code) == (oddwatch.__version__, 0)


@pytest.mark.slow
def test_installed_command_works_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    command = [str(target / "bin" / "oddwatch"), "--version"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(target)}, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == (oddwatch.__version__, 0), done.stderr
