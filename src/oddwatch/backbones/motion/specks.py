"""Takes out of a picture what is brighter than what surrounds it and thinner than a limb: rain, snow, a sensor's noise.

A morphological opening. Drops and flakes are brighter than what they hide (Garg and Nayar, Detection and removal of rain
from videos, CVPR 2004).
"""

from __future__ import annotations

import cv2
import numpy as np

from oddwatch.types import Image

_SPECK = np.ones((5, 5), np.uint8)  # px: in one direction it is smaller


def without_specks(image: Image) -> Image:
    """image: (H, W) uint8."""
    return np.asarray(cv2.morphologyEx(image, cv2.MORPH_OPEN, _SPECK), np.uint8)
