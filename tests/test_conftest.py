"""The rules of conftest.py fail the tests that they are meant to fail. Each case is a pytest run of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

TESTS = Path(__file__).parent

SUITE = {
    "test_skips.py": """
        import pytest

        def test_skip():
            pytest.skip("no reason")

        @pytest.mark.xfail
        def test_expected_failure():
            assert False
    """,
    "test_skipped_file.py": """
        import pytest

        pytest.importorskip("no_such_module")
    """,
    "test_logs.py": """
        import logging
        import pytest

        def test_error_log():
            logging.getLogger("somewhere").error("broken")

        @pytest.mark.allow_error_logs
        def test_allowed_error_log():
            logging.getLogger("somewhere").error("broken on purpose")

        def test_warning_log():
            logging.getLogger("somewhere").warning("fine")
    """,
    "test_folder.py": """
        from pathlib import Path

        def test_own_folder(tmp_path):
            assert Path.cwd() == tmp_path
    """,
}


def outcomes(folder: Path, *arguments: str) -> dict[str, int]:
    """Run pytest on a folder; the numbers of its summary line."""
    shutil.copy(TESTS / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  allow_error_logs: an ERROR log is expected\n")
    for name, source in SUITE.items():
        (folder / name).write_text(textwrap.dedent(source))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1, 2), done.stdout + done.stderr
    return {word.rstrip("s"): int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", done.stdout.splitlines()[-1])}


def test_skips_pass_by_default_and_an_error_log_fails(tmp_path: Path) -> None:
    # The test that logs an error passes itself; the error is that of the fixture that watched it.
    assert outcomes(tmp_path) == {"passed": 4, "skipped": 2, "xfailed": 1, "error": 1}


def test_no_skips_fails_a_skipped_test_but_not_an_expected_failure(tmp_path: Path) -> None:
    got = outcomes(tmp_path, "--no-skips", "--ignore=test_skipped_file.py")
    assert got == {"passed": 4, "failed": 1, "xfailed": 1, "error": 1}


def test_no_skips_fails_a_skipped_file(tmp_path: Path) -> None:
    assert outcomes(tmp_path, "--no-skips", "test_skipped_file.py") == {"error": 1}
