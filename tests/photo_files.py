"""Shared by the tests of pictures: one to write, and what is in one that was read."""

from pathlib import Path

import numpy as np
from PIL import Image

from editkit.photo import Photo, image_to_uint8


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack((x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height - 2)), 2).astype(
        np.uint8
    )


def pixels(photo: Photo) -> np.ndarray:
    return image_to_uint8(photo.image)[0].numpy()


def save(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path
