"""Work on a real Ray cluster of two processes of this machine."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import SOURCE, finish, start
from mean_backbone import MeanPicture
from small_backbones import small
from small_videos import write

from oddwatch.embed import EmbeddingCache, Job, embed_archive
from oddwatch.errors import MissingExtraError, VideoError
from oddwatch.scale import AwayError, Cluster, ray_map
from oddwatch.types import Embeddings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # about its own code
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    path = os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
    yield
    ray.shutdown()


def squares(numbers: Iterable[int]) -> Iterator[int]:
    return (number * number for number in numbers)


def fails(numbers: Iterable[int]) -> Iterator[int]:
    raise VideoError(f"not {next(iter(numbers))}", "is no video", "give another")


class DiesOnce:
    """Kills its process the first time it sees the number 20."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __call__(self, numbers: Iterable[int]) -> Iterator[int]:
        for number in numbers:
            yield number
            if number == 20 and not self._mark.exists():
                self._mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)


def test_a_map(cluster: None) -> None:
    assert sorted(ray_map(processes=2)(squares, range(50))) == [n * n for n in range(50)]
    assert list(ray_map()(squares, [])) == []


def test_what_a_lost_process_did_is_done_again(cluster: None, tmp_path: Path) -> None:
    found = list(ray_map(processes=2)(DiesOnce(tmp_path / "died"), range(50)))
    assert (tmp_path / "died").exists()
    assert sorted(found) == list(range(50))


def test_an_error_of_the_work_is_that_error(cluster: None) -> None:
    with pytest.raises(VideoError, match=r"not 1: is no video \(give another\)"):
        list(ray_map(processes=1)(fails, [1, 2]))


class Counting:
    """before: how often it was made before."""

    def __init__(self, number: int, before: int) -> None:
        self._number, self._before = number, before

    def more(self, by: int) -> tuple[int, int, int]:
        self._number += by
        return self._number, self._before, os.getpid()

    def fail(self) -> None:
        raise VideoError("x.mp4", "is no video", "give another")


def test_a_placed_object_is_made_again_when_its_process_is_lost(cluster: None) -> None:
    with Cluster() as there:
        placed = there.place(partial(Counting, 10), cpus=0.1)
        assert placed.ask("more", 1, seconds=60)[:2] == (11, 0)
        number, before, pid = placed.ask("more", 2, seconds=60)
        assert (number, before, pid != os.getpid()) == (13, 0, True)
        with pytest.raises(VideoError, match="give another"):
            placed.ask("fail", seconds=60)
        os.kill(pid, signal.SIGKILL)
        ends = time.monotonic() + 60
        while placed.made == 1:
            assert time.monotonic() < ends
            with suppress(AwayError):
                assert placed.ask("more", 5, seconds=10)[:2] == (15, 1)
        placed.remove()
        with pytest.raises(AwayError, match="lost"):
            placed.ask("more", 1, seconds=60)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "oddwatch\[scale\]"') as raised:
        ray_map()
    with pytest.raises(MissingExtraError):
        Cluster()
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_embeddings_are_the_same_bit_for_bit(cluster: None, tmp_path: Path) -> None:
    """With as many threads and batches of the same size."""
    videos = [str(write(tmp_path / f"{i}.mp4", 1.0 + i % 3, seed=i)) for i in range(10)]
    (tmp_path / "bad.mp4").write_text("not a video")
    jobs = [Job(index, path) for index, path in enumerate([*videos, str(tmp_path / "bad.mp4")])]
    made = small("r3d-18", window_seconds=1.0, stride_seconds=0.5)
    here, there = EmbeddingCache(tmp_path / "here"), EmbeddingCache(tmp_path / "there")
    local = embed_archive(jobs, made, here, grids=True)
    remote = embed_archive(jobs, made, there, grids=True, map=ray_map(processes=2))
    assert (remote.embedded, remote.clips, remote.failures) == (10, local.clips, local.failures)
    for one, other in zip(here.entries(), there.entries(), strict=True):
        assert (one.file.name, one.info) == (other.file.name, other.info)
        a, b = (Embeddings.concatenate([e for _, e in entry.read()]) for entry in (one, other))
        np.testing.assert_array_equal(a.vector, b.vector)
        assert a.grid is not None
        assert b.grid is not None
        np.testing.assert_array_equal(a.grid, b.grid)


def test_the_command_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    """Without anything said by Ray on standard output; its process is killed, and the command goes on."""
    for i in range(12):
        write(tmp_path / "videos" / f"{i}.mp4", 1.2, seed=i)
    command = ("embed", "videos", "--backbone", "mean_backbone:MeanPicture", "--out", "kept", "--json")
    process = start(
        *command, "--engine", "ray", "--workers", "2", cwd=tmp_path, environment={"MEAN_PICTURE_SECONDS": "1"}
    )
    assert kill_a_worker(process.pid, limit_seconds=60)
    ran = finish(process, limit_seconds=120)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["embedded"] == 12
    assert {e.clips for e in EmbeddingCache(tmp_path / "kept").entries()} == {2}
    made = MeanPicture()
    made.name = "mean_backbone:MeanPicture"
    found = EmbeddingCache(tmp_path / "kept").find(str(tmp_path / "videos" / "0.mp4"), made, grids=False)
    assert found is not None


def kill_a_worker(pid: int, *, limit_seconds: float) -> bool:
    """Of the command `pid`, a second after it was seen: in the middle of its work. One that ended by itself is none."""
    until, seen = time.monotonic() + limit_seconds, set[int]()
    while time.monotonic() < until:
        found = {child for child in _descendants(pid) if "_Worker" in _command_line(child)}
        for victim in found & seen:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                return True
        seen = found
        time.sleep(1)
    return False


def _descendants(pid: int) -> list[int]:
    found = []
    for child in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(child.read_text().rpartition(")")[2].split()[1]) == pid:
                found += [int(child.parent.name), *_descendants(int(child.parent.name))]
        except OSError:
            continue
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
