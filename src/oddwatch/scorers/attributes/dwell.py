"""`dwell`: somebody stays here longer than usual."""

from __future__ import annotations

import numpy as np

from oddwatch.scorers.attributes.above import Above


class Dwell(Above):
    """Standard deviations of log(1 + seconds of presence) above what is usual there."""

    name = "dwell"
    floor = 4.0
    least_spread = 0.5  # in logs: about half as long again

    @staticmethod
    def sentence(now: float, usually: float) -> str:
        seconds, often = np.expm1(now), np.expm1(usually)
        return f"somebody or something has stayed here for {seconds:.0f} s, usual are {often:.0f} s"
