"""`crowd`: more of the neighbourhood is taken up than usual."""

from __future__ import annotations

from oddwatch.scorers.attributes.above import Above


class Crowd(Above):
    """Standard deviations of how much goes on in the wider neighbourhood above what is usual there."""

    name = "crowd"
    floor = 4.0
    least_spread = 0.01  # square root of the strength of moving edges

    @staticmethod
    def sentence(now: float, usually: float) -> str:
        return f"{(now / max(usually, 1e-3)) ** 2:.1f}x as much going on around here as usual"
