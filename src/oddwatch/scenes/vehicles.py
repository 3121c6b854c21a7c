"""Things that are not people: a bicycle with its rider, a cart with its driver, a bag."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from oddwatch.scenes.body import Person, figure, seated
from oddwatch.scenes.shapes import Builder, Colour, Shape, joined, toned

_TYRE: Colour = (34, 34, 36)
_METAL: Colour = (150, 152, 156)
_WHEEL_M, _WHEELS_APART_M, _CRANK_M = 0.34, 1.04, 0.17
_METRES_PER_PEDAL_TURN = 4.4


def cyclist(rider: Person, travelled_m: float, *, frame_colour: Colour) -> Shape:
    """A bicycle and its rider, heading +x, after it has rolled `travelled_m`: the pedals turn with the wheels."""
    make = Builder()
    r, half, bottom = _WHEEL_M, _WHEELS_APART_M / 2, (0.0, 0.0, 0.28)
    turns = np.linspace(0, 2 * math.pi, 20, endpoint=False)
    for x in (-half, half):
        make.add(_TYRE, *((x + r * math.cos(a), 0.0, r + r * math.sin(a), 0.022) for a in turns), ring=True)
        for spoke in np.arange(3) * math.pi / 3 - travelled_m / r:
            dx, dz = 0.93 * r * math.cos(spoke), 0.93 * r * math.sin(spoke)
            make.add(_METAL, (x - dx, 0.0, r - dz, 0.003), (x + dx, 0.0, r + dz, 0.003), flat=True)
    seat, bars, head = (-0.24, 0.0, 0.84), (0.36, 0.0, 1.0), (0.34, 0.0, 0.86)
    for a, b in (
        (bottom, (-half, 0.0, r)), (seat, (-half, 0.0, r)), (bottom, seat), (bottom, head), ((-0.2, 0.0, 0.74), head),
        ((half, 0.0, r), head), (head, bars),
    ):  # fmt: skip
        make.add(frame_colour, (*a, 0.018), (*b, 0.018))
    make.add(_TYRE, (0.38, 0.25, 1.02, 0.015), (0.38, -0.25, 1.02, 0.015))
    make.add(_TYRE, (-0.36, 0.0, 0.88, 0.045), (-0.14, 0.0, 0.88, 0.025))
    crank = 2 * math.pi * travelled_m / _METRES_PER_PEDAL_TURN
    h = rider.height_m
    hip_height = 0.94
    feet = []
    for angle, y in ((crank, 0.1), (crank + math.pi, -0.1)):
        pedal = (bottom[0] + _CRANK_M * math.cos(angle), bottom[2] - _CRANK_M * math.sin(angle))
        make.add(_METAL, (bottom[0], y * 0.7, bottom[2], 0.014), (pedal[0], y * 0.7, pedal[1], 0.014))
        feet.append(((pedal[0] + 0.24 - 0.03) / h, (pedal[1] + 0.1 - hip_height) / h))
    pose = seated(lean=0.55, feet_at=(feet[0], feet[1]), hip_height=hip_height / h)
    return joined(make.shape(), figure(pose, rider).moved(-0.24, 0.0))


@dataclass(frozen=True)
class CartLook:
    """colour: of the body. van: a small closed van instead of an open golf cart. people: the driver and a passenger."""

    colour: Colour
    van: bool
    people: tuple[Person, ...]


def cart(look: CartLook) -> Shape:
    """A golf cart or a small van, heading +x, on the ground."""
    return _van(look) if look.van else _golf_cart(look)


def _golf_cart(look: CartLook) -> Shape:
    make = Builder()
    body, dark = look.colour, (54, 54, 58)
    _wheels(make, (-0.75, 0.8), half_width=0.56, radius=0.23)
    make.box(toned(body, 0.9), (-1.15, -0.58, 0.24), (1.12, 0.58, 0.46))
    front = ((0.62, 0.46), (1.16, 0.46), (1.1, 0.72), (0.7, 1.0))
    for y, tone in ((-0.56, 0.9), (0.56, 0.75)):
        make.add(toned(body, tone), *((x, y, z, 0.02) for x, z in front), flat=True)
    make.add(body, *((x, y, z, 0.02) for x, z in front[1:] for y in (-0.56, 0.56)), flat=True)
    make.add((235, 232, 210), (1.14, -0.4, 0.62, 0.06))
    make.add((235, 232, 210), (1.14, 0.4, 0.62, 0.06))
    make.box((92, 74, 60), (-0.55, -0.52, 0.46), (0.0, 0.52, 0.78))
    make.box((104, 84, 68), (-0.66, -0.52, 0.78), (-0.54, 0.52, 1.22))
    make.box(toned(body, 0.95), (-1.15, -0.54, 0.46), (-0.68, 0.54, 0.86))
    for x_low, x_high in ((0.72, 0.52), (-0.95, -0.78)):
        for y in (-0.52, 0.52):
            make.add(dark, (x_low, y, 0.9, 0.022), (x_high, y, 1.84, 0.022))
    make.box((232, 230, 222), (-0.98, -0.6, 1.84), (0.7, 0.6, 1.92))
    make.add(dark, (0.6, 0.26, 0.95, 0.015), (0.34, 0.26, 1.12, 0.015))
    shapes = [make.shape()]
    for person, y in zip(look.people, (0.26, -0.26), strict=False):
        h = person.height_m
        pose = seated(lean=-0.08, feet_at=((0.5 / h, -0.34 / h), (0.55 / h, -0.34 / h)), hip_height=0.88 / h)
        shapes.append(figure(pose._replace(shoulders=(0.7, 0.6), elbows=(0.7, 0.8)), person).moved(-0.28, y))
    return joined(*shapes)


def _van(look: CartLook) -> Shape:
    make = Builder()
    body, glass = look.colour, (58, 70, 82)
    _wheels(make, (-0.85, 0.95), half_width=0.62, radius=0.26)
    make.box(body, (-1.45, -0.66, 0.3), (0.55, 0.66, 1.85))
    nose = ((0.55, 0.3), (1.4, 0.3), (1.42, 0.85), (1.0, 1.7), (0.55, 1.84))
    for y, tone in ((-0.66, 0.85), (0.66, 0.75)):
        make.add(toned(body, tone), *((x, y, z, 0.012) for x, z in nose), flat=True)
        window = ((0.5, 1.05), (1.22, 1.05), (0.93, 1.62), (0.5, 1.66))
        make.add(glass, *((x, y * 1.01, z, 0.012) for x, z in window), flat=True, nearer_m=0.3)
    for low, high, colour in ((1, 2, toned(body, 0.9)), (2, 3, glass), (3, 4, body)):
        make.add(
            colour, *((*p, 0.012) for x, z in (nose[low], nose[high]) for p in ((x, -0.64, z), (x, 0.64, z))), flat=True
        )
    for y in (-0.45, 0.45):
        make.add((240, 236, 214), (1.42, y, 0.66, 0.08), nearer_m=0.05)
    make.add((70, 72, 76), (1.44, -0.6, 0.38, 0.06), (1.44, 0.6, 0.38, 0.06))
    make.add(
        toned(body, 0.6), *((x, -0.67, z, 0.01) for x in (-1.4, 0.5) for z in (0.95, 0.99)), flat=True, nearer_m=0.3
    )
    return make.shape()


def _wheels(make: Builder, ahead: tuple[float, ...], *, half_width: float, radius: float) -> None:
    turns = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    for x in ahead:
        for y in (-half_width, half_width):
            rim = [(x + radius * math.cos(a), radius + radius * math.sin(a)) for a in turns]
            make.add(_TYRE, *((px, y + w, pz, 0.01) for px, pz in rim for w in (-0.06, 0.06)), flat=True, nearer_m=0.15)
            side = math.copysign(0.07, y)
            make.add(_METAL, *((x + 0.55 * (px - x), y + side, radius + 0.55 * (pz - radius), 0.01) for px, pz in rim),
                     flat=True, nearer_m=0.2)  # fmt: skip


def bag(colour: Colour) -> Shape:
    """A holdall that stands on the ground at the origin, its handles on top."""
    make = Builder()
    make.add(
        colour,
        *((x, y, 0.12, 0.11) for x in (-0.22, 0.22) for y in (-0.06, 0.06)),
        (-0.18, 0.0, 0.24, 0.08),
        (0.18, 0.0, 0.24, 0.08),
    )
    make.add(toned(colour, 0.55), (-0.24, -0.15, 0.16, 0.02), (0.24, -0.15, 0.16, 0.02), nearer_m=0.1)
    make.add((44, 40, 38), (-0.1, 0.0, 0.32, 0.015), (0.0, 0.0, 0.4, 0.015), (0.1, 0.0, 0.32, 0.015), nearer_m=0.1)
    return make.shape()


def sign() -> Shape:
    """A folding sign that stands on the ground at the origin, seen from the side of the walkway and from the lawn."""
    make = Builder()
    for y, tone in ((-0.16, 1.0), (0.16, 0.8)):
        board = ((-0.3, y, 0.02), (0.3, y, 0.02), (0.3, y * 0.15, 0.78), (-0.3, y * 0.15, 0.78))
        make.add(toned((206, 60, 50), tone), *((*corner, 0.02) for corner in board), flat=True)
        inner = ((-0.23, y * 1.02, 0.16), (0.23, y * 1.02, 0.16), (0.23, y * 0.4, 0.68), (-0.23, y * 0.4, 0.68))
        make.add(toned((236, 234, 226), tone), *((*corner, 0.01) for corner in inner), flat=True, nearer_m=0.05)
    return make.shape()


BAG_GRIP_M = 0.42
"""Height of the bag's handles above its bottom: where the hand holds it."""
