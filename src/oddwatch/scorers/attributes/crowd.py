"""`crowd`: more of the neighbourhood is taken up than usual."""

from __future__ import annotations

from oddwatch.scorers.attributes.above import Above


class Crowd(Above):
    """Standard deviations of how much goes on in the wider neighbourhood above what is usual there."""

    name = "crowd"
    floor = 4.0
    power = 3  # of the square root: few people differ much among each other, many are many times as much
    least_spread = 1e-5

    @staticmethod
    def sentence(now: float, usually: float) -> str:
        return f"{(now / max(usually, 1e-3)) ** 2:.1f}x as much going on around here as usual"
