"""Where the metrics of a run also go, for looking at many: TensorBoard, W&B, MLflow. Nothing is sent unasked.

A tracker that cannot be reached at the start is an error, before any work. One that fails later does not stop the
training: it is said once, and `metrics.csv` has every epoch.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import shutil
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oddwatch.errors import MissingExtraError, TrackerError
from oddwatch.files import is_remote
from oddwatch.finetune.folder import RunFolder
from oddwatch.finetune.recipe import Tracker
from oddwatch.torch_compat import import_torchvision

import_torchvision()  # before Lightning imports it without the remedy
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger  # noqa: E402

log = logging.getLogger(__name__)
_REMEDY = "check its address and your login, or choose another with --tracker"
_START_SECONDS = 30


def open_tracker(
    tracker: Tracker, folder: RunFolder, *, run: str | None, parameters: Mapping[str, Any]
) -> RunTracker | None:
    """Start it, or go on with the run of that id; None for the name `none`. parameters: what the run was asked for.

    Raises TrackerError when it cannot be reached, MissingExtraError.
    """
    if tracker.name == "none":
        return None
    package = "tensorboard" if tracker.name == "tensorboard" else tracker.name
    if importlib.util.find_spec(package) is None:
        extra = "train" if tracker.name == "tensorboard" else tracker.name
        raise MissingExtraError(f"tracker {tracker.name}", package, extra)
    mirror = _Mirror(folder) if is_remote(folder.folder) else None
    home = folder.folder if mirror is None else mirror.home
    try:
        with _plain():
            if tracker.name == "tensorboard":
                made: Logger = TensorBoardLogger(home, name=None, version="tensorboard")
            elif tracker.name == "wandb":
                made = _wandb(tracker, home, run or secrets.token_hex(4), folder.folder.name)
            else:
                made = _mlflow(tracker, run, folder.folder.name)
            if tracker.name != "tensorboard" and run is None:
                made.log_hyperparams(dict(parameters))
    except Exception as error:
        if mirror is not None:
            mirror.close()
        elif tracker.name == "wandb" and run is None:
            shutil.rmtree(home / "wandb", ignore_errors=True)  # else the folder would not be free any more
        raise TrackerError(f"tracker {tracker.name} cannot be used: {_one_line(error)} ({_REMEDY})") from error
    return RunTracker(tracker.name, made, mirror)


def _wandb(tracker: Tracker, home: Path, run: str, name: str) -> Logger:
    # W&B reports its own errors and use to its maker.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    home.mkdir(parents=True, exist_ok=True)
    # Lightning says `offline` by the environment, where it would hold for all runs to come.
    with _environment({"WANDB_SILENT": "true", **({} if tracker.online else {"WANDB_MODE": "offline"})}):
        import wandb

        settings = wandb.Settings(
            mode="online" if tracker.online else "offline",
            silent=True,
            console="off",
            init_timeout=_START_SECONDS,
            login_timeout=_START_SECONDS,
        )
        wandb.setup(settings)
        made = WandbLogger(
            name=name,
            project=tracker.project,
            save_dir=home,
            id=run,
            offline=not tracker.online,
            resume="allow",
            settings=settings,
        )
        made.experiment  # noqa: B018 - made when it is first asked for
    return made


def _mlflow(tracker: Tracker, run: str | None, name: str) -> Logger:
    # MLflow reports its use to its maker.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    store = tracker.uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if "://" not in store or store.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it wants to be told that a folder is meant
    made = MLFlowLogger(tracker.project, run_name=name, tracking_uri=store, run_id=run)
    # It would try for minutes: right in the middle of a training, but not before one.
    with _environment({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_START_SECONDS)}):
        made.experiment  # noqa: B018 - made when it is first asked for
    return made


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class RunTracker(Logger):
    """A logger of Lightning's that never stops a training."""

    def __init__(self, kind: str, inner: Logger, mirror: _Mirror | None) -> None:
        super().__init__()
        self._kind, self._inner, self._mirror = kind, inner, mirror
        self._works = True

    @property
    def run(self) -> str | None:
        """What goes on by this id; None where files simply follow each other."""
        return None if self._kind == "tensorboard" else str(self._inner.version)

    @property
    def name(self) -> str:
        return self._kind

    @property
    def version(self) -> str:
        return self.run or ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._do(lambda: self._inner.log_metrics(dict(metrics), step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Said when it was opened."""

    def save(self) -> None:
        self._do(self._saved)

    def close(self, status: str) -> None:
        """The run is over: `success` or `failed`."""
        self._do(lambda: self._finished(status))
        if self._mirror is not None:
            self._do(self._mirror.upload)
            self._mirror.close()

    def _saved(self) -> None:
        self._inner.save()
        if self._mirror is not None:
            if isinstance(self._inner, TensorBoardLogger):
                self._inner.experiment.flush()
            self._mirror.upload()

    def _finished(self, status: str) -> None:
        self._inner.finalize(status)
        if isinstance(self._inner, WandbLogger):
            self._inner.experiment.finish(exit_code=int(status != "success"))

    def _do(self, what: Callable[[], None]) -> None:
        if not self._works:
            return
        try:
            with _plain():
                what()
        except Exception as error:
            self._works = False
            log.warning(
                "tracker %s cannot be written any more: %s (training goes on; metrics.csv has every epoch)",
                self._kind,
                _one_line(error),
            )


class _Mirror:
    """Trackers append to files of this machine: what has changed is copied to a run folder that is elsewhere."""

    def __init__(self, folder: RunFolder) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="oddwatch-run-"))
        self._target: Any = folder.folder
        self._copied: dict[Path, tuple[int, int]] = {}

    def upload(self) -> None:
        for path in sorted(self.home.rglob("*")):
            if not path.is_file() or path.is_symlink():
                continue
            stat = path.stat()
            state = stat.st_size, stat.st_mtime_ns
            if self._copied.get(path) != state:
                there = self._target.joinpath(*path.relative_to(self.home).parts)
                there.fs.pipe_file(there.path, path.read_bytes())
                self._copied[path] = state

    def close(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


@contextmanager
def _plain() -> Iterator[None]:
    """The warnings of trackers are for those who write them, and so is that an experiment is made when it is new."""
    names = ("lightning.pytorch.loggers.mlflow", "mlflow", "alembic", "wandb", "urllib3")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)  # what fails is raised, and said by us
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
