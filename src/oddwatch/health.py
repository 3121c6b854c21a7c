"""Whether a camera sees: frames and time in, findings out. Pure: no clock, no files, no knowledge of sources.

Everything is judged on a small grey picture, twice a second. Light is not a fault: what is compared with before is
where edges are, which neither dusk nor a cloud changes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

from oddwatch.types import Image

Kind = Literal["offline", "frozen", "dark", "overexposed", "blurred", "covered", "moved"]
KINDS: tuple[Kind, ...] = ("offline", "frozen", "dark", "overexposed", "blurred", "covered", "moved")

_GONE: tuple[Kind, ...] = ("covered", "moved")
View = Literal["", "blurred", "covered", "moved"]

_Map = NDArray[np.float32]
_LOOK_SECONDS = 0.45  # between two looks
_HEIGHT_PX = 120  # of the small picture
_SAME_LEVELS = 0.05  # mean difference of two small pictures below which they are one and the same
_DARK_LEVEL, _DARK_SPREAD = 16.0, 12.0  # grey levels: nothing is bright, and nothing stands out
_WHITE_LEVEL, _WHITE_SHARE = 250, 0.5
_SEEN = (0.02, 0.2)  # frequencies, in cycles per pixel of the small picture, by which a view is recognised
_KNOWN_MATCH = 0.2  # 0.46 and more for the same view through people, dusk, blur and glare, 0.1 for any other
_COARSE, _FINE = (0.02, 0.08), (0.18, 0.35)  # frequencies that blur leaves, and those that it takes
_BLUR_SHARE = 0.4
_FLAT_SHARE = 0.35  # of the usual structure, below which a view that is gone is covered and not another
_LEAST_PX = 32
_NOW_SECONDS = 3.0  # over this time the present is averaged: who walks by is gone then
_LEARN_SECONDS = 10.0  # before this there is no usual view to compare with
_FOLLOW_SECONDS = 600.0  # with this time constant the usual view follows shadows and seasons


@dataclass(frozen=True)
class Patience:
    """Seconds until each fault is told, from its beginning, and until its end is. A fault that a lorry, a hand or a
    headlight could cause has to last longer than those do.
    """

    offline: float = 10.0
    frozen: float = 20.0
    dark: float = 10.0
    overexposed: float = 10.0
    blurred: float = 20.0
    covered: float = 15.0
    moved: float = 15.0
    cleared: float = 4.0


@dataclass(frozen=True)
class Finding:
    """A fault was found (raised), or is over (not raised). since_seconds: when it began. seconds: when this was known.
    says: what it looks like, in words.
    """

    kind: Kind
    raised: bool
    since_seconds: float
    seconds: float
    says: str


_SAYS: dict[Kind, str] = {
    "offline": "no picture arrives",
    "frozen": "the picture does not change at all, not even by noise",
    "dark": "too dark to see anything",
    "overexposed": "at least half of the picture is white",
    "blurred": "the picture is far less sharp than usual",
    "covered": "what is usually seen is hidden by something without edges",
    "moved": "the camera shows another view than usual",
}


class Health:
    """Watches one camera. Feed it every frame with `look` and, when none comes, the time with `tick`.

    >>> health = Health()
    >>> health.look(np.zeros((48, 64, 3), np.uint8), 0.0)
    []
    >>> [finding.kind for finding in health.tick(30.0)]
    ['offline']
    """

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._since: dict[Kind, float] = {}
        self._well_since: dict[Kind, float] = {}
        self._raised: dict[Kind, float] = {}
        self._last_frame: float | None = None
        self._last_look = -np.inf
        self._before: _Map | None = None
        self._view = _View()
        self._gone_since: float | None = None

    @property
    def raised(self) -> tuple[Kind, ...]:
        """Faults that are being told of at this moment, in the order in which they were found."""
        return tuple(self._raised)

    @property
    def sees(self) -> bool:
        """Whether what the camera shows can be judged by what it usually shows."""
        return not self._raised

    def accept_view(self) -> None:
        """What is seen from now on is the usual view: after a camera was moved on purpose."""
        self._view = _View()

    def look(self, image: Image, seconds: float) -> list[Finding]:
        """A frame, (H, W, 3) uint8 RGB, with its time, which ascends. Returns what changed."""
        found = self.tick(seconds)
        self._last_frame = seconds
        found += self._judge({"offline": False}, seconds)
        passed = seconds - self._last_look
        if passed < _LOOK_SECONDS:
            return found
        self._last_look = seconds
        grey = _small(image)
        dark = bool(grey.mean() < _DARK_LEVEL and np.ptp(np.percentile(grey, (1, 99))) < _DARK_SPREAD)
        white = bool((grey >= _WHITE_LEVEL).mean() >= _WHITE_SHARE)
        frozen = self._before is not None and float(np.abs(grey - self._before).mean()) < _SAME_LEVELS
        self._before = self._before if frozen else grey
        blind = dark or white
        faults: dict[Kind, bool] = {"dark": dark, "overexposed": white, "frozen": frozen and not blind}
        if not blind and min(grey.shape) >= _LEAST_PX:
            view = self._view.compare(grey, min(passed, 5.0), learn=not self._raised)
            faults |= {"blurred": view == "blurred", **self._gone(view, seconds)}
        return found + self._judge(faults, seconds)

    def _gone(self, view: View, seconds: float) -> dict[Kind, bool]:
        """Of a view that is gone it may take a while to say in which way; the time counts from when it went."""
        told: Kind | None = next((kind for kind in _GONE if kind in self._raised), None)
        if view not in _GONE:
            self._gone_since = None
            return dict.fromkeys(_GONE, False)
        if self._gone_since is None:
            self._gone_since = seconds
        kind = told or ("covered" if view == "covered" else "moved")
        self._since.setdefault(kind, self._gone_since)
        return {kind: True}

    def resume(self, seconds: float) -> None:
        """Frames before this time were lost on the way here: that none came is not the camera's fault."""
        self._last_frame = seconds

    def tick(self, seconds: float) -> list[Finding]:
        """The time, when there is no frame to look at. Returns what changed."""
        if self._last_frame is None:
            self._last_frame = seconds
        if seconds - self._last_frame < self._patience.offline or "offline" in self._raised:
            return []
        self._since["offline"] = self._last_frame
        return self._judge({"offline": True}, seconds)

    def _judge(self, faults: dict[Kind, bool], seconds: float) -> list[Finding]:
        found = []
        for kind, is_there in faults.items():
            if is_there:
                self._well_since.pop(kind, None)
                since = self._since.setdefault(kind, seconds)
                if kind not in self._raised and seconds - since >= getattr(self._patience, kind):
                    self._raised[kind] = since
                    found.append(Finding(kind, True, since, seconds, _SAYS[kind]))
            elif kind in self._raised:
                well = self._well_since.setdefault(kind, seconds)
                if kind == "offline" or seconds - well >= self._patience.cleared:
                    since = self._raised.pop(kind)
                    self._since.pop(kind, None)
                    found.append(Finding(kind, False, since, seconds, "seen again" if kind == "offline" else "over"))
            else:
                self._since.pop(kind, None)
        return found


class _View:
    """What the camera usually shows, and whether it still does.

    The view is recognised by phase correlation (Kuglin and Hines 1975): 1 for the same picture whatever its light,
    about 0 for one that is shifted by 3% or is another. What is averaged over seconds holds no people any more.
    """

    def __init__(self) -> None:
        self._seconds = self._clock = 0.0
        self._usual: _Map | None = None
        self._now: deque[tuple[float, _Map]] = deque()

    def compare(self, grey: _Map, passed: float, *, learn: bool) -> View:
        """What is wrong with a small picture, `passed` seconds after the one before. learn: take it for usual when
        nothing is.
        """
        # Relative to its brightness: twice the light changes nothing.
        picture = grey / (grey.mean() + 1) - 1
        if self._usual is None or picture.shape != self._usual.shape:
            self._now.clear()
            self._usual, self._seconds = picture, 0.0
        self._clock += passed
        self._now.append((self._clock, picture))
        while self._clock - self._now[0][0] > _NOW_SECONDS:
            self._now.popleft()
        wrong: View = ""
        if self._seconds >= _LEARN_SECONDS:
            wrong = _difference(self._usual, np.mean([one for _, one in self._now], axis=0))
        if learn and not wrong:
            self._seconds += passed
            rate = passed / min(self._seconds + passed, _FOLLOW_SECONDS)
            self._usual = self._usual + np.float32(rate) * (picture - self._usual)
        return wrong


def _difference(usual: _Map, now: _Map) -> View:
    known = _spectrum(usual.shape)
    one, other = scipy.fft.rfft2(usual * known.window), scipy.fft.rfft2(now * known.window)
    cross = other * np.conj(one)
    phases = np.where(known.seen, cross / np.maximum(np.abs(cross), 1e-12), 0)
    match = scipy.fft.irfft2(phases, s=usual.shape) / known.best_match
    near = np.arange(-1, 2)
    if match[np.ix_(near, near)].max() >= _KNOWN_MATCH:
        # How much of the usual structure is left, fine against coarse. Noise is in neither: it does not correlate.
        fine, coarse = (
            float(cross.real[band].sum() / (np.square(np.abs(one[band])).sum() + 1e-12))
            for band in (known.fine, known.coarse)
        )
        return "blurred" if fine < _BLUR_SHARE * coarse else ""
    left = np.square(np.abs(other[known.seen])).sum() / (np.square(np.abs(one[known.seen])).sum() + 1e-12)
    return "covered" if np.sqrt(left) < _FLAT_SHARE else "moved"


@dataclass(frozen=True)
class _Spectrum:
    """Of pictures (h, w) of one shape. window: (h, w) fades their edges out. seen, fine, coarse: (h, w // 2 + 1) which
    frequencies are in `_SEEN`, `_FINE` and `_COARSE`. best_match: of a picture with itself.
    """

    window: _Map
    seen: NDArray[np.bool_]
    fine: NDArray[np.bool_]
    coarse: NDArray[np.bool_]
    best_match: float


@lru_cache(maxsize=8)
def _spectrum(shape: tuple[int, int]) -> _Spectrum:
    height, width = shape
    window = np.asarray(cv2.createHanningWindow((width, height), cv2.CV_32F), dtype=np.float32)
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    seen, fine, coarse = ((frequencies >= low) & (frequencies <= high) for low, high in (_SEEN, _FINE, _COARSE))
    return _Spectrum(window, seen, fine, coarse, float(scipy.fft.irfft2(seen.astype(np.float64), s=shape)[0, 0]))


def _small(image: Image) -> _Map:
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if height > _HEIGHT_PX:
        # 216 px of 16:9, and not 213: Fourier transforms of lengths without large factors are quicker.
        size = scipy.fft.next_fast_len(max(round(width * _HEIGHT_PX / height), 1), real=True), _HEIGHT_PX
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, dtype=np.float32)
