"""Under what light, weather and from where a scene is seen."""

from __future__ import annotations

from dataclasses import dataclass

from oddwatch.errors import UsageError

VIEWPOINTS: dict[str, tuple[float, float]] = {"usual": (1.0, 1.0), "high": (1.5, 0.8), "far": (1.45, 1.45)}
"""How much higher the camera hangs, and how much farther back, than at the usual viewpoint."""


@dataclass(frozen=True)
class Conditions:
    """What the usual sunny day is not. All of it is a function of seed and time, and none of it changes who does what.

    viewpoint: `usual`, `high` (steeper) or `far` (everybody 0.7 times as large). dusk: dim, noisy, lamps lit, no sun.
    flicker: one of the lamps fails every now and then, all of them hum; only with dusk. rain: streaks, wet ground with
    reflections, no sun. snow: flakes, white ground, no sun. wind: the pole sways a few px at 1 to 5 Hz. clouds: their
    shadows pass, and the exposure jumps. low_sun: shadows of three to five body heights. compressed: a camera that is
    short of bits: blocks that change from frame to frame, and with every key frame the whole picture.

    Raises UsageError for a viewpoint that is none, for flicker without dusk, and for sun where there is none.
    """

    viewpoint: str = "usual"
    dusk: bool = False
    flicker: bool = False
    rain: bool = False
    snow: bool = False
    wind: bool = False
    clouds: bool = False
    low_sun: bool = False
    compressed: bool = False

    def __post_init__(self) -> None:
        if self.viewpoint not in VIEWPOINTS:
            raise UsageError(f"unknown viewpoint {self.viewpoint!r}; there are {', '.join(VIEWPOINTS)}")
        if self.flicker and not self.dusk:
            raise UsageError("flicker is of lamps, which are lit at dusk only: set dusk")
        if self.sunless and (self.clouds or self.low_sun):
            raise UsageError("dusk, rain and snow have no sun: leave out clouds and low_sun")

    @property
    def sunless(self) -> bool:
        """Whether the light comes from all of the sky."""
        return self.dusk or self.rain or self.snow


CONDITIONS: dict[str, Conditions] = {
    "day": Conditions(),
    "dusk": Conditions(dusk=True),
    "rain": Conditions(rain=True),
    "shake": Conditions(wind=True),
    "high": Conditions(viewpoint="high"),
    "far": Conditions(viewpoint="far"),
    "clouds": Conditions(clouds=True),
    "low_sun": Conditions(low_sun=True),
    "snow": Conditions(snow=True),
    "flicker": Conditions(dusk=True, flicker=True),
    "compressed": Conditions(compressed=True),
}
"""Those that the benchmark goes through."""
