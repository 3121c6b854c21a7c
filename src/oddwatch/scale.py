"""Work on a Ray cluster. Knows nothing of videos: it runs a function on items somewhere and brings the results."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, TypeVar

from oddwatch.errors import MissingExtraError, OddwatchError

Item = TypeVar("Item")
Result = TypeVar("Result")
_ITEMS_PER_TASK = 8


def ray_map(
    *, processes: int | None = None
) -> Callable[[Callable[[Iterable[Item]], Iterator[Result]], Sequence[Item]], Iterator[Result]]:
    """A `map(work, items)` that calls `work` in `processes` processes of a Ray cluster, a few items at a time.

    processes: by default one per machine of the cluster, with all its cores. The cluster is that of RAY_ADDRESS, else
    processes of this machine. `work` and items must be picklable, and what they name (files, weights) must be
    there on every machine. Results of one call stay together and in order. What a lost process was working on is done
    again by another. Raises MissingExtraError, what `work` raises, and OddwatchError when the cluster fails.
    """
    try:
        import ray
        import ray.data  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("--engine ray", "ray", "scale") from error

    def run(work: Callable[[Iterable[Item]], Iterator[Result]], items: Sequence[Item]) -> Iterator[Result]:
        with redirect_stdout(sys.stderr):  # Ray prints there what it says of lost processes, to the very end
            yield from _run(work, items, processes)

    return run


def _run(
    work: Callable[[Iterable[Item]], Iterator[Result]], items: Sequence[Item], processes: int | None
) -> Iterator[Result]:
    if not items:
        return
    # Ray reports usage to its makers, and says much, unless told otherwise before it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    began = not ray.is_initialized()
    if began:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        nodes = [int(node["Resources"].get("CPU", 0)) for node in _nodes() if node["Alive"]]
        nodes = [cores for cores in nodes if cores] or [1]
        count = processes or len(nodes)
        cores = max(min(nodes) // -(-count // len(nodes)), 1)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = [{"item": pickle.dumps(item)} for item in items]
        tasks = ray.data.from_items(rows, override_num_blocks=_blocks(len(rows), count))
        done = tasks.map_batches(
            _Worker,
            fn_constructor_args=(pickle.dumps(work),),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(count, tasks.num_blocks())),
            num_cpus=cores,
        )
        for row in done.iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, _Raised):
                raise result.error
            yield result
    except ray.exceptions.RayError as error:
        raise OddwatchError(f"the Ray cluster failed: {error}") from error
    finally:
        if began:
            ray.shutdown()


def _blocks(items: int, processes: int) -> int:
    """Small ones, and enough for every process."""
    return min(max(-(-items // _ITEMS_PER_TASK), processes), items)


def _nodes() -> list[dict[str, Any]]:
    import ray

    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True)
class _Raised:
    """An error of `work`, which is nothing that Ray should try again."""

    error: Exception


class _Worker:
    """Lives in a process of the cluster."""

    def __init__(self, pickled: bytes) -> None:
        self._pickled = pickled
        self._work: Any = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """All at once, so that a repeated call after a loss gives nothing twice."""
        try:
            self._work = self._work or pickle.loads(self._pickled)
            results = [pickle.dumps(result) for result in self._work(pickle.loads(item) for item in batch["item"])]
        except Exception as error:  # of any kind: it is raised where the work was asked for
            results = [pickle.dumps(_Raised(error))]
        return {"result": results}
