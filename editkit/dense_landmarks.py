"""68 landmarks from the package face-alignment, where its weights are already on this machine.

Nothing is downloaded: without the weights there are none of these points, and our own five are used. Import and
construction take 15 s and more, so the model is kept.
"""

import logging
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from editkit.crops import five_points
from editkit.optional_weights import FACE_LANDMARKS
from editkit.photo import image_to_uint8

log = logging.getLogger(__name__)

# The package frames a face by a detector's box; around our points: forehead to chin, in mean eye-and-mouth distances.
_BOX_ACROSS, _BOX_ABOVE, _BOX_BELOW = 1.1, 1.2, 1.1


def dense_landmarks(image: Tensor, points: Tensor) -> Tensor | None:
    """68 points float64 [68, 2] in photo pixels of the face at five points, or None where the weights are not at hand.

    image: [1, 3, H, W] in [-1, 1]; points: [5, 2] in photo pixels.
    """
    if not FACE_LANDMARKS.at_hand:
        return None
    left, right, _, mouth_left, mouth_right = five_points(points)
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    size, (x, y) = float((right - left).norm() + (mouth - eyes).norm()) / 2, ((eyes + mouth) / 2).tolist()
    box = [x - _BOX_ACROSS * size, y - _BOX_ABOVE * size, x + _BOX_ACROSS * size, y + _BOX_BELOW * size]
    found = _model().get_landmarks_from_image(image_to_uint8(image)[0].numpy(), detected_faces=[box])
    if not found:
        log.warning("face-alignment found no landmarks; the five of the bundled network are used")
        return None
    return torch.as_tensor(found[0], dtype=torch.float64)[:, :2] + 0.5  # its pixel centres are at whole numbers


@lru_cache(maxsize=1)
def _model() -> Any:
    import face_alignment

    # compile=True, the default, needs a C++ compiler; 'folder' stands for boxes that are given, and has no weights.
    return face_alignment.FaceAlignment(
        face_alignment.LandmarksType.TWO_D, device="cpu", face_detector="folder", compile=False
    )
