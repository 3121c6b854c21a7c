"""`crowd`: more of the neighbourhood is taken up than usual."""

from __future__ import annotations

from oddwatch.scorers.attributes.above import Above


class Crowd(Above):
    """Standard deviations of the share of the wider neighbourhood in which somebody is above what is usual there."""

    name = "crowd"
    floor = 4.0
    least_spread = 0.02  # share of the neighbourhood

    @staticmethod
    def sentence(now: float, usually: float) -> str:
        return f"{now / max(usually, 1e-3):.1f}x as much going on around here as usual"
