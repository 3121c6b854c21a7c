"""What holds for every test: an empty folder to run in, no unnoticed ERROR log, no skip where `--no-skips` is given."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

collect_ignore = ["rtsp_server.py"]  # a program for another Python; doctests are looked for in all files

# Before anything loads OpenMP: the same sums on every machine, and test processes side by side do not fight for cores.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")


_LONG = ["test_demo", "test_watch_site", "test_compute", "test_clip_backbones", "test_scale", "test_bench"]


class _NoSkips:
    """A plugin of its own, because the hooks of a conftest.py do not see the doctests in `src`."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.skipped and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"skipped, which --no-skips does not allow: {report.longrepr}"
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if report.skipped:
            report.outcome = "failed"
            report.longrepr = f"skipped, which --no-skips does not allow: {report.longrepr}"
        return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a test or a file that is skipped counts as failed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes first: with `--no-loadscope-reorder`, processes side by side then end together."""
    items.sort(key=lambda item: _LONG.index(item.path.stem) if item.path.stem in _LONG else len(_LONG))


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--no-skips"):
        config.pluginmanager.register(_NoSkips(), "no-skips")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test writes under a relative name does not land in the repository; tables know no terminal's width."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def _no_error_logs(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test during which something was logged as an ERROR, unless it is marked `allow_error_logs`."""
    yield
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    errors = [f"{one.name}: {one.getMessage()}" for one in records if one.levelno >= logging.ERROR]
    if errors and request.node.get_closest_marker("allow_error_logs") is None:
        pytest.fail("unexpected ERROR logs: " + "; ".join(errors), pytrace=False)
