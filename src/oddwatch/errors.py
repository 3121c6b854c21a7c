"""Every error that oddwatch raises on purpose, in one tree.

A message says what arrived, what is allowed and how to mend it, in one line. The command line prints it as it is;
`exit_code` is what the process then ends with (1: some input could not be used, 2: wrong usage).
"""

from __future__ import annotations


class OddwatchError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UsageError(OddwatchError, ValueError):
    """An argument that can never work, whatever the input: an unknown name, a contradictory pair of options."""

    exit_code = 2


class VideoError(OddwatchError):
    """A video that cannot be used. `source` is the display name (never holds a password), `reason` the rest."""

    def __init__(self, source: str, problem: str, remedy: str = "") -> None:
        self.source = source
        self.problem = problem
        self.remedy = remedy
        self.reason = problem + (f" ({remedy})" if remedy else "")
        super().__init__(f"{source}: {self.reason}")

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str, str]]:
        return type(self), (self.source, self.problem, self.remedy)


class DatasetError(OddwatchError):
    """A data set folder that does not have the published layout."""


class DetectorError(OddwatchError):
    """A detector folder that cannot be read or written, or a detector asked for what it was not learned for."""


class RunError(OddwatchError):
    """A folder of a training run that cannot be read, written or gone on with."""


class TrackerError(OddwatchError):
    """An experiment tracker that cannot be reached, or refuses what it is given."""


class WeightsError(OddwatchError):
    """Pretrained weights that are not there, damaged, not what was published, or of another network."""


class CacheError(OddwatchError):
    """Kept embeddings that cannot be read or written."""


class StoreError(OddwatchError):
    """Events, alerts or evidence that cannot be read or written."""


class LockedError(StoreError):
    """Another process writes for this camera, or delivers alerts."""


class LockLostError(StoreError):
    """Another process has taken over what this one had locked: it must not write any more."""


class NotEnoughVideoError(OddwatchError):
    """Too little usual video to learn from or to calibrate on."""


class MissingExtraError(OddwatchError, ImportError):
    """A part of oddwatch that needs an optional dependency which is not installed."""

    exit_code = 2

    def __init__(self, what: str, package: str, extra: str) -> None:
        self.what, self.package, self.extra = what, package, extra
        super().__init__(f'{what} needs {package}: pip install "oddwatch[{extra}]"')

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        return type(self), (self.what, self.package, self.extra)
