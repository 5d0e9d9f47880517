"""Pictures without a face for the landmark network's confidence.

They come from the sample photos that ship inside the scikit-image and scikit-learn wheels (nothing is downloaded), from
faces cut up and shuffled, and from gradients and noise.
"""

from pathlib import Path

import numpy as np
from PIL import Image

# Sample photos without a face that look straight at the camera; the astronaut is kept for testing.
SKIMAGE_PHOTOS = (
    "brick.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png", "color.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "logo.png", "moon.png", "motorcycle_left.png", "motorcycle_right.png",
    "page.png", "retina.jpg", "rocket.jpg", "text.png", "horse.png", "chessboard_RGB.png",
)  # fmt: skip
SKLEARN_PHOTOS = ("china.jpg", "flower.jpg")


def negative_tiles(faces: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """uint8 [count, 128, 128, 3]: half from photos, a quarter shuffled faces, a quarter gradients and noise.

    faces: uint8 [N, 128, 128, 3] to cut up; pass no evaluation faces.
    """
    rng = np.random.default_rng(seed)
    photos = _sample_photos()
    makers = (
        lambda: _photo_tile(photos, rng),
        lambda: _photo_tile(photos, rng),
        lambda: _shuffled(faces[rng.integers(len(faces))], rng),
        lambda: _pattern(rng),
    )
    return np.stack([makers[index % len(makers)]() for index in range(count)])


def _sample_photos() -> list[Image.Image]:
    import skimage.data
    import sklearn.datasets

    folders = (
        (Path(skimage.data.__file__).parent, SKIMAGE_PHOTOS),
        (Path(sklearn.datasets.__file__).parent / "images", SKLEARN_PHOTOS),
    )
    paths = [folder / name for folder, names in folders for name in names]
    return [Image.open(path).convert("RGB") for path in paths if path.is_file()]


def _photo_tile(photos: list[Image.Image], rng: np.random.Generator) -> np.ndarray:
    photo = photos[rng.integers(len(photos))]
    side = int(min(photo.size) * rng.uniform(0.12, 1.0) ** 1.5) or 1
    side = max(side, min(32, *photo.size))
    left, top = rng.integers(photo.width - side + 1), rng.integers(photo.height - side + 1)
    box = (int(left), int(top), int(left) + side, int(top) + side)
    tile = photo.resize((128, 128), Image.Resampling.LANCZOS, box=box)
    return np.rot90(np.asarray(tile), int(rng.integers(4)))


def _shuffled(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut into 2x2 or 4x4 pieces that change places; no piece order may leave the face whole."""
    parts = int(rng.choice([2, 4]))
    side = 128 // parts
    pieces = face.reshape(parts, side, parts, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    order = np.roll(np.arange(len(pieces)), rng.integers(1, len(pieces)))
    if rng.random() < 0.5:
        order = order[::-1]
    return pieces[order].reshape(parts, parts, side, side, 3).swapaxes(1, 2).reshape(128, 128, 3)


def _pattern(rng: np.random.Generator) -> np.ndarray:
    """Smooth coloured noise of a random octave, over a gradient."""
    cells = int(rng.choice([2, 3, 6, 12, 32, 128]))
    noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    smooth = np.asarray(noise.resize((128, 128), Image.Resampling.BICUBIC), dtype=np.float32)
    if rng.random() < 0.4:
        smooth = smooth.mean(2, keepdims=True).repeat(3, 2)
    start, stop = rng.uniform(0, 255, (2, 3))
    gradient = np.linspace(start, stop, 128)[None].repeat(128, 0)
    mixed = gradient + (smooth - 128) * rng.uniform(0.0, 1.0)
    return np.rot90(mixed.clip(0, 255).astype(np.uint8), int(rng.integers(4)))
