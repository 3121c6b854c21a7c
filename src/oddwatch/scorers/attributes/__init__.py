"""`attributes`: faster, elsewhere, another way, larger or longer than usual: what a guard would say, one file each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.scorers.attributes.appearance import Appearance
from oddwatch.scorers.attributes.base import COLUMNS, Attribute, Sums, Usual
from oddwatch.scorers.attributes.crowd import Crowd
from oddwatch.scorers.attributes.direction import Direction
from oddwatch.scorers.attributes.dwell import Dwell
from oddwatch.scorers.attributes.extremes import highest
from oddwatch.scorers.attributes.ground import Ground
from oddwatch.scorers.attributes.place import Place
from oddwatch.scorers.attributes.placed import bins
from oddwatch.scorers.attributes.rest import Left, Taken
from oddwatch.scorers.attributes.scene import Scene
from oddwatch.scorers.attributes.size import Shape, Size
from oddwatch.scorers.attributes.speed import Speed
from oddwatch.scorers.attributes.velocity import Velocity
from oddwatch.scorers.base import Arrays, Explain, Rows, Scorer, checked
from oddwatch.types import FloatArray, Reason

ALL: tuple[Attribute, ...] = (
    *(Speed(), Velocity(), Direction(), Place(), Ground(), Left(), Taken()),
    *(Size(), Shape(), Dwell(), Crowd(), Appearance(), Scene()),
)
ATTRIBUTES = tuple(attribute.name for attribute in ALL)

_PARTS = 4  # contiguous parts of the usual video, each measured against the others
_BLOCKS = 20  # contiguous blocks of it, whose highest values say what is extreme
_SPREADS = 3.5  # of those highest values above their mean
_WEIGHT = 10.0  # of what the others exceed 1 by
_WINDOW = np.ones((3, 3), np.uint8)  # cells
_BODY = 0.7  # cells, standard deviation
_EDGES = slice(COLUMNS.index("edges_0"), COLUMNS.index("edges_135") + 1)
_LEAST = 1e-3  # weight where nothing is to be seen
_ALIKE = 0.8  # of the highest: about as unusual
_AT_ONCE = 20_000  # rows that are measured, to bound memory
_WAYS = {Speed.name, Velocity.name, Direction.name}


class AttributesScorer(Scorer):
    """How unusual is what moves or rests in a window: its speed, and what twelve other attributes exceed the usual by.

    Each attribute (`ATTRIBUTES`, a file each) measures a row against sums over usual rows. What it measures is divided
    by its alarm level: mean plus 3.5 standard deviations of the highest values that 20 contiguous blocks of usual video
    hold for 0.6 s, each measured against what the other three quarters of it say, and not less than a floor; so 1 is as
    unusual as usual video gets. The score is the speed, which ranks all that moves, plus log(1 + 10 x what each other
    attribute exceeds 1 by): below it they only tell usual from usual. only: names of attributes to use, all when empty;
    the first of them, in the order of `ATTRIBUTES`, ranks. In the spirit of Singh et al., EVAL, CVPR 2023. `attributes`
    gives them one by one, `explain` in words.
    """

    name = "attributes"
    summary = "speed, direction, place, size, dwell... each against what is usual there; for fixed cameras"
    paper = "in the spirit of Singh et al., EVAL: Explainable Video Anomaly Localization, CVPR 2023"
    columns: ClassVar[tuple[str, ...]] = COLUMNS
    run_of_moments = 10
    max_rows = 1_000_000

    def __init__(self, *, only: Sequence[str] = ()) -> None:
        if unknown := set(only) - set(ATTRIBUTES):
            raise ValueError(f"only holds {sorted(unknown)[0]!r}: there are {', '.join(ATTRIBUTES)}")
        self.options: dict[str, Any] = {"only": list(only)}
        self._used = [attribute for attribute in ALL if not only or attribute.name in only]
        self._sums: list[Sums] | None = None
        self._parts: _Parts | None = None
        self._extremes: Rows
        self._levels: Rows

    def fit(self, x: FloatArray, *, labels: Sequence[str] | None = None, groups: FloatArray | None = None) -> Self:
        """See `Scorer.fit`. groups also say which rows are neighbours in time; without them the order of rows does."""
        rows = checked(x, columns=len(COLUMNS), at_least=2)
        moments = None
        if groups is not None:
            order = np.lexsort((groups[:, 1], groups[:, 0]))
            moments = np.asarray(groups, np.float64)
            if (np.diff(order) < 0).any():  # else no copy of a million rows
                rows, moments = rows[order], moments[order]
        parts = [part for part in np.array_split(rows, _PARTS) if len(part)]
        times = [None] * len(parts) if moments is None else np.array_split(moments, _PARTS)[: len(parts)]
        sums = [self._sums_of(part) for part in parts]
        total = sums[0]
        for more in sums[1:]:
            total = _added(total, more)
        others = [self._usual_of(_added(total, own, -1)) for own in sums]
        self._extremes = np.concatenate(
            [
                highest(_measured(usual, part), when, _BLOCKS // _PARTS)
                for usual, part, when in zip(others, parts, times, strict=True)
            ]
        )
        self._parts = (
            None if moments is None else _Parts(np.stack([when[0] for when in times if when is not None]), others)
        )
        self._take(total)
        return self

    def survey(self, usual: Iterable[tuple[Rows, FloatArray]]) -> None:
        """The alarm levels from all moments of usual video, each measured against the parts it does not belong to: what
        is rare in it is hardly in a sample, but would raise the threshold above what the levels allow.
        """
        if self._parts is None:
            return
        found: list[tuple[Rows, FloatArray, NDArray[np.intp]]] = []
        for rows, groups in usual:
            if not len(rows):
                continue
            begins = np.flatnonzero(np.r_[True, (np.diff(groups, axis=0) != 0).any(axis=1)])
            part = self._parts.of(groups)
            measured = np.empty((len(rows), len(self._used)), np.float32)
            for number in np.unique(part):
                measured[part == number] = _measured(self._parts.others[number], rows[part == number])
            found.append((np.maximum.reduceat(measured, begins), groups[begins], part[begins]))
        if found:
            most, moments, parts = (np.concatenate(one) for one in zip(*found, strict=True))
            self._extremes = np.concatenate(
                [highest(most[parts == n], moments[parts == n], _BLOCKS // _PARTS) for n in np.unique(parts)]
            )
            self._take(self._known())
        self._parts = None

    def update(self, x: FloatArray, *, groups: FloatArray | None = None) -> Self:
        """Learn more usual rows, in order of time. groups: as in `fit`. What is usual is then what a fit on all rows
        would say, up to rounding; the alarm levels are not: new rows are measured by what was known before them. Raises
        ValueError before `fit`.
        """
        rows = checked(x, columns=len(COLUMNS), at_least=1)
        known = self._known()
        moments = None if groups is None else np.asarray(groups, np.float64)
        more = highest(_measured(self._usual, rows), moments, _BLOCKS // _PARTS)
        self._extremes = np.concatenate([self._extremes, more])
        self._take(_added(known, self._sums_of(rows)))
        return self

    def scale_as(self, whole: Self) -> None:
        """Its alarm levels: an attribute in which usual video has surprises is then mute in all parts of it, those that
        hold the surprise too, and does not raise the threshold of the others.
        """
        whole._known()
        self._extremes, self._levels = whole._extremes, whole._levels

    def attributes(self, x: FloatArray) -> Rows:
        """(n, a) the attributes in use, >= 0, each in units of its alarm level."""
        self._known()
        rows = checked(x, columns=len(COLUMNS))
        return np.asarray(_measured(self._usual, rows) / self._levels, dtype=np.float32)

    def score(self, x: FloatArray) -> FloatArray:
        return self.score_and_explain(x)[0]

    def explain(self, x: FloatArray) -> list[Reason]:
        """For each row the attribute that adds most to its score, by how much, and in words. Where nobody goes there is
        no usual way to go: of who strolls there it is the place.
        """
        rows = checked(x, columns=len(COLUMNS))
        return self._explained(rows, self.attributes(rows))

    def score_and_explain(self, x: FloatArray) -> tuple[FloatArray, Explain]:
        found = self.attributes(x)
        scores = np.asarray(_parts(found).sum(axis=1), dtype=np.float64)
        return scores, lambda at: self._explained(np.asarray(x[at], np.float32), found[at])

    def located(self, maps: Rows, grid: FloatArray) -> Rows:
        """What a window says lies where in it somebody is: beside who walks where nobody does it says more than on him.
        Bodies have edges inside, which their shadows have not. What rests or is gone is known where it is. Of places
        that are about as unusual as the highest, which is the highest is where most of a body is.
        """
        edges = np.square(grid[..., _EDGES]).sum(axis=-1)
        present, left, taken = (grid[..., COLUMNS.index(name)] for name in ("present", "left", "taken"))
        found = np.zeros_like(maps)
        for one, into, seen, edge, rests in zip(maps, found, present, edges, np.maximum(left, taken), strict=True):
            near = cv2.GaussianBlur(seen, (0, 0), _BODY)
            weight = np.asarray(near * (edge + _LEAST) + rests + _LEAST, np.float32)
            share = np.asarray(one / cv2.dilate(weight, _WINDOW), np.float32)
            into[:] = cv2.dilate(share, _WINDOW) * weight
            top = into.max()
            alike = np.where(into >= _ALIKE * top, weight, 0)
            np.copyto(into, top * (_ALIKE + (1 - _ALIKE) * alike / alike.max()), where=alike > 0)
        return found

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        if self._sums is None:
            raise ValueError("state before fit")
        arrays: Arrays = {"extremes": self._extremes}
        for attribute, sums in zip(self._used, self._sums, strict=True):
            arrays |= {f"{attribute.name}.{key}": value for key, value in sums.items()}
        return arrays, {}

    def restore(self, arrays: Arrays, meta: dict[str, Any]) -> Self:
        self._extremes = np.asarray(arrays["extremes"], dtype=np.float32)
        sums: list[Sums] = []
        for attribute in self._used:
            start = f"{attribute.name}."
            sums.append({k.removeprefix(start): np.asarray(v) for k, v in arrays.items() if k.startswith(start)})
        self._take(sums)
        return self

    def _explained(self, rows: Rows, found: Rows) -> list[Reason]:
        parts = _parts(found)
        by_name = {attribute.name: i for i, attribute in enumerate(self._used)}
        if places := [by_name[name] for name in (Place.name, Ground.name) if name in by_name]:
            strolls = found[:, by_name[Speed.name]] <= 1 if Speed.name in by_name else True
            elsewhere = (found[:, places] > 1).any(axis=1) & strolls
            for name in by_name.keys() & _WAYS:
                parts[elsewhere, by_name[name]] = 0
        most = parts.argmax(axis=1)
        return [
            Reason(self._used[i].name, float(found[n, i]), self._usual[i].says(rows[n])) for n, i in enumerate(most)
        ]

    def _take(self, sums: list[Sums]) -> None:
        self._sums = sums
        self._usual = self._usual_of(sums)
        floors = np.array([attribute.floor for attribute in self._used], dtype=np.float32)
        self._levels = np.maximum(self._extremes.mean(axis=0) + _SPREADS * self._extremes.std(axis=0), floors)

    def _known(self) -> list[Sums]:
        if self._sums is None:
            raise ValueError("score before fit")
        return self._sums

    def _sums_of(self, rows: Rows) -> list[Sums]:
        return [attribute.sums(rows) for attribute in self._used]

    def _usual_of(self, sums: Sequence[Sums]) -> list[Usual]:
        return [attribute.usual(own) for attribute, own in zip(self._used, sums, strict=True)]


@dataclass(frozen=True)
class _Parts:
    """The parts of the sample. begins: (p, 2) source and seconds of the first row of each. others: what the rest of the
    sample says is usual.
    """

    begins: FloatArray
    others: list[list[Usual]]

    def of(self, groups: FloatArray) -> NDArray[np.intp]:
        """(n,) which of them rows (n, 2) are in."""
        source, seconds = groups.T
        after = [(source > s) | ((source == s) & (seconds >= t)) for s, t in self.begins[1:]]
        return np.asarray(np.sum(after, axis=0) if after else np.zeros(len(groups)), np.intp)


def _added(one: Sequence[Sums], other: Sequence[Sums], sign: int = 1) -> list[Sums]:
    return [{key: a[key] + sign * b[key] for key in a} for a, b in zip(one, other, strict=True)]


def _measured(usual: Sequence[Usual], rows: Rows) -> Rows:
    """(n, a)."""
    found = np.empty((len(rows), len(usual)), np.float32)
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        where = bins(some)
        for number, one in enumerate(usual):
            found[first : first + _AT_ONCE, number] = one.measure(some, where)
    return found


def _parts(attributes: Rows) -> Rows:
    """(n, a) what each adds to the score: the first all of it, the others what exceeds 1, as a log: one moment in the
    usual video that is far out would otherwise raise the threshold above all that speed can say.
    """
    parts = np.log1p(_WEIGHT * np.maximum(attributes - 1, 0))
    parts[:, 0] = attributes[:, 0]
    return np.asarray(parts)
