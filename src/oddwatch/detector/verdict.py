"""What a detector says of a whole clip."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClipVerdict:
    """One line per clip: its score, the threshold, and the class whose centroid is nearest to its embedding."""

    source: str
    score: float
    threshold: float
    nearest_class: str
    distance: float

    @property
    def anomalous(self) -> bool:
        """score >= threshold."""
        return self.score >= self.threshold
