"""The examples of a service, as far as it can be said without Docker and systemd: nothing here builds or starts one."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import SOURCE, parse
from small_videos import write
from sqlalchemy.engine import make_url
from watch_command import SECRETS, site_file

from oddwatch.config.site import Site, read_site
from oddwatch.service import Endpoint

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PASSWORDS = {"CAMERA_PASSWORD": "c", "DATABASE_PASSWORD": "d@/:"}
NEEDLESS = ("huggingface_hub", "jinja2", "lightning", "matplotlib", "onnx", "openvino", "ray", "torch", "torchvision")
"""Of other extras than watch and postgres."""
WITHOUT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NEEDLESS}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from oddwatch.__main__ import main
main()
"""


@pytest.fixture
def dockerfile() -> dict[str, list[str]]:
    """Instruction -> what follows it, each time."""
    text = re.sub(r"^#.*\n", "", (EXAMPLES / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        found.setdefault(name, []).append(rest)
    return found


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((EXAMPLES / "compose.yaml").read_text())


@pytest.fixture
def site() -> Site:
    return read_site(EXAMPLES / "site.yaml", environment=PASSWORDS)


def test_what_the_image_is_made_of_is_there(dockerfile: dict[str, list[str]]) -> None:
    copied = [words[:-1] for words in map(str.split, dockerfile["COPY"]) if not words[0].startswith("--from=build")]
    assert all((ROOT / source).exists() for sources in copied for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"pyproject.toml", "src", project["readme"], *project["license-files"]} <= {
        source for sources in copied for source in sources
    }
    (extras,) = re.findall(r'"/src\[(.*?)\]"', " ".join(dockerfile["RUN"]))
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert dockerfile["USER"] == ["oddwatch"]


def test_the_commands_of_the_examples_parse(dockerfile: dict[str, list[str]], compose: Any) -> None:
    entry, command = (json.loads(dockerfile[name][0]) for name in ("ENTRYPOINT", "CMD"))
    assert entry == ["oddwatch"]
    unit = re.findall(r"^ExecStart=(.*)$", (EXAMPLES / "oddwatch.service").read_text(), re.MULTILINE)
    comments = re.findall(r"^#.* oddwatch (.*)$", (EXAMPLES / "compose.yaml").read_text(), re.MULTILINE)
    lines = [command, compose["services"]["watch"]["command"], *map(shlex.split, comments), shlex.split(unit[0])[1:]]
    assert len(lines) == 4
    for line in lines:
        parse(line)


def test_the_parts_of_the_composition_fit(compose: Any, site: Site, dockerfile: dict[str, list[str]]) -> None:
    watch, database = compose["services"]["watch"], compose["services"]["database"]
    assert set(watch["environment"]) == set(PASSWORDS)
    named = [volume.partition(":") for volume in (*watch["volumes"], *database["volumes"])]
    assert {source for source, _, _ in named if not source.startswith(".")} == set(compose["volumes"])
    mounted = {target.partition(":")[0]: source for source, _, target in named}
    assert (EXAMPLES / mounted["/etc/oddwatch/site.yaml"]).exists()
    assert site.storage.folder == dockerfile["WORKDIR"][0] == dockerfile["VOLUME"][0]
    assert mounted[site.storage.folder] == "evidence"
    assert (EXAMPLES / watch["build"]["context"] / watch["build"]["dockerfile"]).samefile(EXAMPLES / "Dockerfile")
    assert site.storage.database is not None
    url = make_url(site.storage.database.get_secret_value())
    made = database["environment"]
    assert (url.host, url.username, url.database) == ("database", made["POSTGRES_USER"], made["POSTGRES_DB"])
    assert url.password == PASSWORDS["DATABASE_PASSWORD"]


@pytest.mark.parametrize("healthy", [True, False])
def test_the_health_check_asks_what_is_answered(healthy: bool, site: Site, dockerfile: dict[str, list[str]]) -> None:
    check = json.loads(dockerfile["HEALTHCHECK"][0].partition("CMD ")[2])
    assert site.metrics is not None
    with Endpoint("127.0.0.1", 0, health=lambda: (healthy, {}), ready=lambda: (True, {}), metrics=bytes) as answers:
        asked = check[2].replace(f":{site.metrics.port}/", f":{answers.port}/")
        assert asked != check[2]
        done = subprocess.run([sys.executable, *check[1:2], asked], capture_output=True, timeout=60)
    assert (done.returncode == 0) == healthy, done.stderr


@pytest.mark.slow
def test_motion_is_watched_without_torch(tmp_path: Path) -> None:
    """From the first picture to an event, with what the image installs."""
    write(tmp_path / "video" / "1.mp4", 15.0, seed=1)
    write(tmp_path / "video" / "2.mp4", 8.0, seed=3, odd="left")
    door = {"name": "door", "url": "video", "replay": "fast", "learn": {"seconds": 12, "budget": "1/hour"}}
    site = site_file(tmp_path, "http://127.0.0.1:9/", door)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "watch", str(site)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCE), **SECRETS},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "door: armed" in done.stderr
    assert "door: event 1" in done.stderr
