"""What the documents say is true: commands parse, examples run, links lead somewhere, the command reference is current.

README.md and docs/backbones.md are executed from top to bottom, in a folder that holds videos/usual.mp4 (a rendered
walkway) and videos/new.mp4 (the same place with a cyclist): every `oddwatch ...` line of a bash block and every Python
block; one that begins with `# NAME.py` is written to that file.
A block that cannot run in a test says why, in the line above it: <!-- not run: REASON -->
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import parse
from typer.testing import CliRunner

import cli_docs
from oddwatch.cli import app
from oddwatch.demo import render
from oddwatch.scenes import PlannedEvent, Scene

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [path for name in ("*.md", "docs/**/*.md") for path in sorted(ROOT.glob(name))]
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: the line that opens it, its language, its text, and whether a comment says that it cannot run."""

    page: Path
    line: int
    language: str
    text: str
    runs: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of each `oddwatch` command in a block of shell."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
        return [line for line in words if line and line[0].rpartition("/")[2] == "oddwatch"]


def blocks(page: Path, text: str) -> Iterator[Block]:
    opened = None
    before = ""
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.match(r" *```\s*(\w*)", line)
        if opened is None and fence:
            opened, inside = (number, fence.group(1), NOT_RUN.fullmatch(before) is None), []
        elif opened and fence:
            yield Block(page, opened[0], opened[1], "\n".join(inside), opened[2])
            opened = None
        elif opened:
            inside.append(line)
        before = line.strip() or before


ALL_BLOCKS = [block for page in PAGES for block in blocks(page, page.read_text(encoding="utf-8"))]
SHELL_BLOCKS = [block for block in ALL_BLOCKS if block.language in ("bash", "sh", "console")]


def test_readme_has_examples_that_run() -> None:
    assert README.exists(), "README.md is missing"
    runs = [block for block in ALL_BLOCKS if block.page == README and block.runs]
    assert any(block.language == "python" for block in runs)
    assert any(block.commands() for block in runs if block.language == "bash")


def test_commands_parse() -> None:
    wrong = []
    for block in SHELL_BLOCKS:
        for command in block.commands():
            try:
                parse(command[1:])
            except Exception as error:
                wrong.append(f"{block}: {shlex.join(command)}: {error}")
    assert wrong == []


@pytest.mark.parametrize("line", ["lern videos --out door", "learn videos --out door --bugdet 2/day", "learn videos"])
def test_a_wrong_command_does_not_parse(line: str) -> None:
    with pytest.raises(Exception, match=r"lern|bugdet|out"):
        parse(line.split())


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for block in SHELL_BLOCKS for name in re.findall(r"^(?:\$ )?make ([\w-]+)", block.text, re.MULTILINE)}
    assert named <= targets


def test_python_compiles() -> None:
    for block in ALL_BLOCKS:
        if block.language == "python":
            compile(block.text, str(block), "exec")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the two videos that the README speaks of, made the current one."""
    videos = tmp_path / "videos"
    videos.mkdir()
    render(videos / "usual.mp4", Scene(place_seed=1, seed=1, seconds=24.0))
    cyclist = PlannedEvent("cyclist", 5.0)
    render(videos / "new.mp4", Scene(place_seed=1, seed=2, seconds=12.0, events=[cyclist]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [README, ROOT / "docs" / "backbones.md"], ids=lambda page: page.name)
def test_a_page_runs(page: Path, sandbox: Path) -> None:
    for block in ALL_BLOCKS:
        if block.page != page or not block.runs:
            continue
        if file := re.match(r"# (\w+\.py)\n", block.text):
            (sandbox / file.group(1)).write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})
        elif block.language == "bash":
            for command in block.commands():
                result = CliRunner().invoke(app, command[1:])
                said = result.output + (repr(result.exception) if result.exception else "")
                assert result.exit_code == 0, f"{block}: {shlex.join(command)}\n{said}"


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(<?([^)>\s]+)", text) + re.findall(r'(?:src|href|srcset)="([^"]+)"', text)
    broken = []
    for link in links:
        if re.match(r"[a-z][a-z+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = '# One, two\n[a](#one-two) [b](#three) [c](page.md) ![d](no.png) <img src="no.svg"> [e](https://x.org/y)\n'
    page.write_text(text)
    assert broken_links(page, text) == ["#three", "no.png", "no.svg"]


def test_command_reference_is_current() -> None:
    assert cli_docs.PAGE.exists(), "docs/cli.md is missing: run `make docs`"
    assert cli_docs.PAGE.read_text(encoding="utf-8") == cli_docs.render(), "docs/cli.md is out of date: run `make docs`"


def test_blocks_are_found() -> None:
    text = (
        "```bash\n$ oddwatch learn \\\n  videos # all\nls\n```\n<!-- not run: needs data -->\n\n```python\nx = 1\n```\n"
    )
    first, second = blocks(README, text)
    assert (first.line, first.language, first.runs) == (1, "bash", True)
    assert first.commands() == [["oddwatch", "learn", "videos"]]
    assert (second.line, second.language, second.text, second.runs) == (8, "python", "x = 1", False)
