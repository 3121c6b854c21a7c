"""How numbers and times are written for people. Plain text, no markup."""

from __future__ import annotations

import math

NONE = "\N{EN DASH}"
"""What stands where there is nothing to say."""


def number(value: float | None) -> str:
    """About four digits, thousands apart; very large and very small numbers as powers of ten.

    >>> number(36.2174), number(12345.6), number(0.00012345), number(4e12)
    ('36.22', '12,346', '1.23e-04', '4.00e+12')
    """
    if value is None or math.isnan(value):
        return NONE
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        return f"{value:.2e}"
    digits = 3 - (math.floor(math.log10(size)) if size else 2)
    return f"{value:,.{min(max(digits, 0), 3)}f}"


def share(value: float | None) -> str:
    """A figure between 0 and 1, three digits."""
    return NONE if value is None or math.isnan(value) else f"{value:.3f}"


def p_value(value: float | None) -> str:
    """
    >>> p_value(0.0312), p_value(0.000412), p_value(3e-7)
    ('0.031', '0.0004', '3e-07')
    """
    if value is None:
        return NONE
    if value < 0.00005:
        return f"{value:.0e}"
    return f"{value:.4f}" if value < 0.001 else f"{value:.2g}"


def clock(seconds: float) -> str:
    """Time from the start of a video; tenths of a second, rounded.

    >>> clock(7.26), clock(72), clock(3661.5), clock(59.96)
    ('0:07.3', '1:12.0', '1:01:01.5', '1:00.0')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    lead = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{lead}:{rest // 10:02d}.{rest % 10}"


def duration(seconds: float) -> str:
    """
    >>> duration(4.26), duration(200), duration(5400)
    ('4.3 s', '3.3 min', '1.5 h')
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def count(n: int, noun: str, plural: str | None = None) -> str:
    """
    >>> count(1, "event"), count(1200, "event"), count(0, "class", "classes")
    ('1 event', '1,200 events', '0 classes')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
