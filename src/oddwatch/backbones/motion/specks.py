"""Takes out of a picture what is brighter than what surrounds it and thin: rain, snow, a sensor's noise.

A morphological opening. Drops and flakes are brighter than what they hide (Garg and Nayar, Detection and removal of
rain from videos, CVPR 2004).
"""

from __future__ import annotations

import cv2
import numpy as np

from oddwatch.types import Image

SPECKS_PX = 3, 5
"""How thin, at most: first as thin as drops and noise are, which leaves limbs, then as flakes are."""


def without_specks(image: Image, px: int) -> Image:
    """image: (H, W) uint8. px: what is thinner in one direction goes."""
    return np.asarray(cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((px, px), np.uint8)), np.uint8)
