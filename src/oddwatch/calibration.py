"""What held-out usual scores say: score -> p-value, false-alarm budget -> threshold.

It knows scores and times, nothing of video. What an event is, it is told: it is given a function that finds events.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from oddwatch.errors import NotEnoughVideoError, UsageError
from oddwatch.types import FloatArray, ScoreTrack

FindEvents = Callable[[ScoreTrack, float], Sequence[float]]
"""(track, threshold) -> for each event, how high the threshold could be for it still to be one."""

_HOURS = {"hour": 1.0, "h": 1.0, "day": 24.0, "d": 24.0, "week": 168.0, "w": 168.0}
_ARRAYS = ("start_seconds", "end_seconds", "scores")
_SHAPE_SD = 0.1
_ENOUGH_PEAKS = 20
_FEWEST_EXCESSES = 10


@dataclass(frozen=True)
class Budget:
    """How many false alarms one camera may raise: `per_hour`, or `p`, the share of usual scores above the threshold.

    >>> Budget.parse("2/day").per_hour
    0.08333333333333333
    >>> Budget.parse("1%").p
    0.01
    """

    text: str
    per_hour: float | None = None
    p: float | None = None

    @staticmethod
    def parse(text: str) -> Budget:
        """`2/day`, `1/hour`, `3/week`, or a share of usual scores: `1%`, `p=0.001`. Raises UsageError."""
        rate = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*(hour|h|day|d|week|w)\s*", text)
        share = re.fullmatch(r"\s*(?:p\s*=\s*(?P<p>[\d.eE-]+)|(?P<percent>\d+(?:\.\d+)?)\s*%)\s*", text)
        try:
            if rate and float(rate[1]) > 0:
                return Budget(text.strip(), per_hour=float(rate[1]) / _HOURS[rate[2]])
            if share:
                p = float(share["p"]) if share["p"] else float(share["percent"]) / 100
                if 0 < p < 1:
                    return Budget(text.strip(), p=p)
        except ValueError:
            pass
        raise UsageError(f"budget {text!r} is not understood: write 2/day, 1/hour, 3/week, 1% or p=0.001")


@dataclass(frozen=True)
class Threshold:
    """An alert threshold, with where it comes from in a sentence. extrapolated: beyond what the usual video shows."""

    value: float
    says: str
    extrapolated: bool = False


class Calibration:
    """Held-out scores of usual video, in contiguous blocks of time.

    tracks: scores by a scorer that had not learned from that block. Raises NotEnoughVideoError when they cover no time.

    The p-value is conformal (Vovk et al. 2005; for outliers Bates et al., Testing for outliers with conformal p-values,
    Annals of Statistics 2023): (1 + #{held-out >= s}) / (n + 1). It is exact for exchangeable scores; neighbouring
    scores of one video are not, so read it as "how often usual video scored this high". A rate follows the same rule:
    the alarm to come counts as one, so of the k that a budget allows in the held-out hours k - 1 are above the
    threshold. Then the expected rate is the budget; with all k above, it would be (k + 1) / k of it.
    """

    def __init__(self, tracks: Sequence[ScoreTrack]) -> None:
        self.tracks = tuple(t for t in tracks if len(t))
        if self.hours <= 0:
            raise NotEnoughVideoError("no held-out usual video to calibrate on: give at least a few seconds of it")
        self._sorted = np.sort(np.concatenate([t.scores for t in self.tracks]))

    @property
    def hours(self) -> float:
        """Held-out usual video behind every statement."""
        return sum(t.seconds for t in self.tracks) / 3600

    @property
    def scores(self) -> FloatArray:
        """(n,) float64 held-out scores, ascending."""
        return self._sorted

    def p_value(self, scores: FloatArray | float) -> FloatArray:
        """Conformal p-value of each score, in (0, 1]; never below 1 / (n + 1)."""
        above = len(self._sorted) - np.searchsorted(self._sorted, scores, side="left")
        return np.asarray((1 + above) / (len(self._sorted) + 1))

    def threshold(self, budget: Budget, find_events: FindEvents) -> Threshold:
        """The lowest threshold that keeps the budget on held-out usual video; extrapolated when there is too little.

        Raises NotEnoughVideoError when nothing held out scores above 0: there is no scale to measure anything by.
        """
        if self._sorted[-1] <= 0:
            raise NotEnoughVideoError(
                f"nothing stands out at all in {_spell(self.hours)} of held-out usual video, so no threshold can be "
                "told from it: give more usual video, in which what usually comes by does so several times"
            )
        if budget.p is not None:
            return self._at_p(budget.p, budget.text)
        assert budget.per_hour is not None
        allowed = budget.per_hour * self.hours
        if allowed >= 1:
            value = self._lowest_threshold(allowed, find_events)
            return Threshold(value, f"{budget.text} kept on {_spell(self.hours)} of held-out usual video")
        return self._extrapolate(budget.per_hour, budget.text, find_events)

    def _at_p(self, p: float, text: str) -> Threshold:
        n = len(self._sorted)
        rank = int(np.floor(p * (n + 1) + 1e-9))
        if rank >= 1:
            value = np.nextafter(self._sorted[n - rank], np.inf)
            return Threshold(float(value), f"{text} of {n} held-out usual scores from {_spell(self.hours)}")
        tail = max(n // 10, min(_FEWEST_EXCESSES, n // 2))
        base = float(self._sorted[n - tail - 1])
        says = f"{text}: extrapolated from {n} held-out usual scores ({_spell(self.hours)}), too few to certify it"
        return Threshold(self._beyond(base, self._sorted[n - tail :], p * n), says, extrapolated=True)

    def _lowest_threshold(self, allowed: float, find_events: FindEvents) -> float:
        def count(threshold: float) -> int:
            return sum(len(find_events(t, threshold)) for t in self.tracks)

        # Low thresholds join events until all is one alarm, so counts rise and then fall: walk down from the top, stop
        # where the budget breaks, and go no lower than where the count was highest.
        candidates = np.unique(np.quantile(self._sorted, 1 - np.geomspace(1e-6, 0.5, 200)))[::-1]
        lowest, most = float(np.nextafter(self._sorted[-1], np.inf)), 0
        for candidate in candidates[candidates > np.median(self._sorted)]:
            events = count(float(candidate))
            if events + 1 > allowed:
                between = self._sorted[(self._sorted > candidate) & (self._sorted < lowest)]
                first = bisect_left(between, True, key=lambda score: count(float(score)) + 1 <= allowed)
                return float(between[first]) if first < len(between) else lowest
            if events >= most:
                lowest, most = float(candidate), events
        return lowest

    def _extrapolate(self, per_hour: float, text: str, find_events: FindEvents) -> Threshold:
        """Peaks over a high threshold follow a generalised Pareto law (Pickands 1975): events per hour above s are
        rate(u) * P(peak > s | peak > u). u is lowered until enough event peaks lie above it.
        """
        base, peaks = self._base_peaks(find_events)
        value = self._beyond(base, peaks, per_hour * self.hours)
        says = (
            f"{text}: extrapolated from {len(peaks)} peaks in {_spell(self.hours)} of held-out usual video, "
            f"too little to certify it (that takes {_spell(1 / per_hour)})"
        )
        return Threshold(value, says, extrapolated=True)

    def _beyond(self, base: float, peaks: FloatArray, expected: float) -> float:
        """Where the tail of `peaks` over `base` leaves `expected` (below 1) of them; above all of them."""
        excesses = peaks[peaks > base] - base
        value = base
        if len(excesses):
            shape, scale = fit_tail(excesses)
            value += float(scipy.stats.genpareto.isf(expected / len(excesses), shape, scale=scale))
        return max(value, float(np.nextafter(peaks.max(initial=base), np.inf)))

    def _base_peaks(self, find_events: FindEvents) -> tuple[float, FloatArray]:
        best_base, best = 0.0, np.zeros(0)
        risen = self._sorted[self._sorted > 0]  # an empty scene scores 0, however long it stays empty
        levels = np.quantile(risen, (0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)) if len(risen) else ()
        for base in map(float, levels):
            peaks = np.array([p for t in self.tracks for p in find_events(t, base)])
            peaks = peaks[peaks > base]
            if len(peaks) > len(best):
                best_base, best = base, peaks
            if len(best) >= _ENOUGH_PEAKS:
                break
        if len(best) < 2:  # a few seconds of video, or scores that never rise: every score above the median is a peak
            best_base = float(np.median(self._sorted))
            best = self._sorted[self._sorted > best_base]
        return best_base, best

    def state(self) -> tuple[dict[str, FloatArray], dict[str, Any]]:
        """Arrays and JSON from which `from_state` builds an equal one."""
        arrays: dict[str, FloatArray] = {
            name: np.concatenate([getattr(t, name) for t in self.tracks]).astype(np.float64) for name in _ARRAYS
        }
        return arrays, {"blocks": [[t.source, len(t)] for t in self.tracks]}

    @staticmethod
    def from_state(arrays: dict[str, FloatArray], meta: dict[str, Any]) -> Calibration:
        """Inverse of `state`."""
        tracks, first = [], 0
        for source, length in meta["blocks"]:
            start, end, scores = (arrays[name][first : first + length] for name in _ARRAYS)
            tracks.append(ScoreTrack(source, start, end, scores))
            first += length
        return Calibration(tracks)


def fit_tail(excesses: FloatArray) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto law for one or more excesses > 0 over a threshold.

    Maximum likelihood with a normal prior of mean 0 and sd 0.1 on the shape: with a few dozen peaks the shape is hardly
    known, and 0 (an exponential tail) is what distances have in the limit. A single excess: (0, itself).
    """
    x = np.asarray(excesses, dtype=np.float64)
    mean = float(x.mean())
    if len(x) < 2:
        return 0.0, mean

    def loss(parameters: FloatArray) -> float:
        shape, log_scale = parameters
        likelihood = scipy.stats.genpareto.logpdf(x / mean, shape, scale=np.exp(log_scale)).sum()
        return float(-likelihood + 0.5 * (shape / _SHAPE_SD) ** 2) if np.isfinite(likelihood) else 1e12

    found = scipy.optimize.minimize(loss, np.array([0.0, 0.0]), method="Nelder-Mead")
    return float(found.x[0]), float(np.exp(found.x[1]) * mean)


def _spell(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.1f} min"
    return f"{hours:.1f} h"
