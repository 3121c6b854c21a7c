"""Work on a Ray cluster. Knows nothing of videos: it runs a function on items somewhere and brings the results, or has
objects live in processes of its machines.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import pickle
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from oddwatch.errors import MissingExtraError, OddwatchError

Item = TypeVar("Item")
Result = TypeVar("Result")
_log = logging.getLogger(__name__)
_ITEMS_PER_TASK = 8
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def ray_map(
    *, processes: int | None = None
) -> Callable[[Callable[[Iterable[Item]], Iterator[Result]], Sequence[Item]], Iterator[Result]]:
    """A `map(work, items)` that calls `work` in `processes` processes of a Ray cluster, a few items at a time.

    processes: by default one per machine of the cluster, with all its cores. The cluster is that of RAY_ADDRESS, else
    processes of this machine. `work` and items must be picklable, and what they name (files, weights) must be
    there on every machine. Results of one call stay together and in order. What a lost process was working on is done
    again by another. Raises MissingExtraError, what `work` raises, and OddwatchError when the cluster fails.
    """
    _require("ray", "ray.data")

    def run(work: Callable[[Iterable[Item]], Iterator[Result]], items: Sequence[Item]) -> Iterator[Result]:
        with redirect_stdout(sys.stderr):  # Ray prints there what it says of lost processes, to the very end
            yield from _run(work, items, processes)

    return run


def _run(
    work: Callable[[Iterable[Item]], Iterator[Result]], items: Sequence[Item], processes: int | None
) -> Iterator[Result]:
    if not items:
        return
    import ray
    import ray.data

    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it says much of processes that it replaces
    began = _connect()
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


def _require(*libraries: str) -> None:
    try:
        for library in libraries:
            importlib.import_module(library)
    except ImportError as error:
        raise MissingExtraError("--engine ray", "ray", "scale") from error


def _connect() -> bool:
    """Returns whether this connected. Signals are handled as before: Ray would end the process in its own way."""
    # Ray reports usage to its makers unless told otherwise before it starts.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    if ray.is_initialized():
        return False
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise OddwatchError(f"the Ray cluster cannot be used: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
    return True


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


class AwayError(OddwatchError):
    """The process of a placed object is gone or does not answer. Ray begins another one by itself."""


class Cluster:
    """The cluster of RAY_ADDRESS, else processes of this machine, as long as the `with` block lasts. Raises
    MissingExtraError, OddwatchError.
    """

    def __init__(self) -> None:
        _require("ray")
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        import ray

        with ExitStack() as entering:
            entering.enter_context(redirect_stdout(_Logged()))  # Ray prints there what it says of lost machines
            if _connect():
                entering.callback(ray.shutdown)
            self._entered = entering.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._entered.close()

    def place(self, make: Callable[[int], Any], *, cpus: float) -> Placed:
        """Have an object made somewhere; see `Placed`."""
        return Placed(make, cpus)


class Placed:
    """An object in a process of the cluster, spread over its machines. When the process is lost with or without its
    machine, another one begins on a machine that is left. Objects end with the process that placed them.

    make: picklable; called there with how often the object was made before. cpus: share of a machine's cores that
    are counted as its own. From one thread.
    """

    def __init__(self, make: Callable[[int], Any], cpus: float) -> None:
        import ray

        self._make, self._made = make, 0
        self._waits: Any = None
        self._removed = False
        options = {"num_cpus": cpus, "max_restarts": -1, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        self._actor: Any = ray.remote(_Home).options(**options).remote()

    @property
    def made(self) -> int:
        """How often the object was made."""
        return self._made

    def ask(self, method: str, *arguments: Any, seconds: float) -> Any:
        """What a method returns. What it takes and gives is picklable. Raises what it raises, and AwayError when there
        is no answer within `seconds` or the process is lost meanwhile: then nobody knows whether it was called.
        """
        if self._removed:  # its process may still answer for a moment
            raise AwayError("its process is lost: it was removed")
        reply = self._get(self._actor.ask, (method, arguments), seconds)
        if isinstance(reply, _Unmade):
            # Only now: what is in `make` may be secret, and the arguments that an actor begins with are kept by Ray.
            self._made += 1
            self._get(self._actor.make, (self._make, self._made - 1), seconds)
            reply = self._get(self._actor.ask, (method, arguments), seconds)
        if isinstance(reply, _Unmade):
            raise AwayError("its process was lost again")
        return reply

    def _get(self, method: Any, sent: Any, seconds: float) -> Any:
        import ray

        try:
            if self._waits is not None:  # for a process: one question at a time
                with suppress(ray.exceptions.RayActorError):
                    ray.get(self._waits, timeout=seconds)
            self._waits = method.remote(pickle.dumps(sent))
            received = ray.get(self._waits, timeout=seconds)
            self._waits = None
        except ray.exceptions.GetTimeoutError:
            raise AwayError(f"no answer within {seconds:g} s") from None
        except ray.exceptions.RayActorError:
            self._waits = None
            raise AwayError("its process or its machine is lost") from None
        except ray.exceptions.RayError as error:
            self._waits = None
            raise AwayError(f"the Ray cluster failed: {error}") from error
        reply = pickle.loads(received)
        if isinstance(reply, _Raised):
            raise reply.error
        return reply

    def remove(self) -> None:
        """End the process, with all that is in it."""
        import ray

        self._removed = True
        with suppress(ray.exceptions.RayError):
            ray.kill(self._actor, no_restart=True)


class _Logged(io.TextIOBase):
    """The first line of what is printed at once becomes a warning of a log: further ones are the innards of Ray."""

    def write(self, text: str) -> int:
        if said := _COLOR.sub("", text).strip():
            _log.warning("Ray: %s", said.splitlines()[0])
        return len(text)


@dataclass(frozen=True)
class _Unmade:
    """There is no object yet in this process."""


class _Home:
    """Lives in a process of the cluster, and holds one object. Only bytes come and go: Ray shows nothing of them."""

    def __init__(self) -> None:
        self._held: Any = None

    def make(self, pickled: bytes) -> bytes:
        def work() -> None:
            make, before = pickle.loads(pickled)
            self._held = make(before)

        return _answer(work)

    def ask(self, pickled: bytes) -> bytes:
        if self._held is None:
            return pickle.dumps(_Unmade())

        def work() -> Any:
            method, arguments = pickle.loads(pickled)
            return getattr(self._held, method)(*arguments)

        return _answer(work)


def _answer(work: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps(work())
    except Exception as error:  # of any kind: it is raised where it was asked for
        return pickle.dumps(_Raised(error))
