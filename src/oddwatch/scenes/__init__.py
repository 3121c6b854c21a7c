"""Rendered surveillance scenes with truth, for the demo, tests and benchmarks.

The usual video and the unseen one show one place and different people:

    >>> usual = Scene(seconds=300, seed=0, place_seed=7)
    >>> unseen = Scene(seconds=160, seed=1, place_seed=7, events=plan_events(KINDS[:7], seconds=160, seed=1))
    >>> [event.kind for event in unseen.truth]
    ['cyclist', 'runner', 'cart', 'against_flow', 'on_grass', 'fall', 'object_left']
    >>> usual[0]
    Frame(image='uint8(240, 320, 3)', time_seconds=0.0, index=0)

People walk along a walkway, one lane each way, alone and in groups, under slowly drifting light in front of a camera
that shakes a little and is a little noisy. Then comes a cyclist. `Conditions` are other light, weather and viewpoints.
What it does not know: night without lamps, people who meet, stop or look where they go. Encoding the frames is the
caller's matter.

`Action` is something else: a short clip of one person doing one of ten things.
"""

from oddwatch.scenes.actions import ACTIONS, ALLOWED, FORBIDDEN, Action
from oddwatch.scenes.conditions import CONDITIONS, Conditions
from oddwatch.scenes.events import KINDS
from oddwatch.scenes.scene import PlannedEvent, Scene, plan_events

__all__ = [
    "ACTIONS",
    "ALLOWED",
    "CONDITIONS",
    "FORBIDDEN",
    "KINDS",
    "Action",
    "Conditions",
    "PlannedEvent",
    "Scene",
    "plan_events",
]
