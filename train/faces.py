"""Aligned face data sets: a zip of square pictures with a ``labels.csv``, read into arrays.

Convention:
    images are uint8 RGB, [N, R, R, 3]; landmarks are (x, y) in pixels of the 128-pixel crop, origin at the top-left
    corner, in the order left eye, right eye, nose, left and right mouth corner, left meaning left on the picture.
    Rows keep the order of ``labels.csv``. Rows whose index is a multiple of 10 are for evaluation and never trained on:
    the file is sorted best first, so a split at its tail would be biased.
"""

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from editkit.errors import TrainingDataError

LABELS = "labels.csv"
STORED_RESOLUTION = 128
EVALUATION_EVERY = 10
POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
# Points after the picture was mirrored: the eyes change places, and so do the corners of the mouth.
MIRRORED_POINTS = (1, 0, 2, 4, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Faces:
    """A face data set in memory. All arrays have the same first dimension N."""

    images: np.ndarray  # uint8 [N, R, R, 3]
    names: tuple[str, ...]  # path of the picture inside the zip
    ages: np.ndarray  # str [N], the age bracket, such as "20-29"
    genders: np.ndarray  # str [N], presentation as labelled, "Female" or "Male"
    yaw: np.ndarray  # float32 [N], in eye distances, near zero for frontal faces
    landmarks: np.ndarray  # float32 [N, 5, 2], pixels of the 128-pixel crop whatever the resolution of the images
    is_evaluation: np.ndarray  # bool [N]

    def __len__(self) -> int:
        return len(self.names)


def load_faces(zip_path: str | Path, *, resolution: int = STORED_RESOLUTION, limit: int | None = None) -> Faces:
    """Read a face data set.

    resolution: side R of the returned pictures; smaller than 128 is a Lanczos reduction.
    limit: read only the first rows, for quick trials.
    Raises TrainingDataError when the zip, its ``labels.csv``, a picture or a label is missing or damaged.
    """
    path = Path(zip_path)
    try:
        with zipfile.ZipFile(path) as archive:
            rows = _read_labels(archive, path)[:limit]
            images = np.empty((len(rows), resolution, resolution, 3), dtype=np.uint8)
            for index, row in enumerate(rows):
                images[index] = _read_picture(archive, row["file"], resolution)
    except (OSError, zipfile.BadZipFile) as error:
        raise TrainingDataError(f"Cannot read the face data set {path}: {error}") from error
    return Faces(
        images=images,
        names=tuple(row["file"] for row in rows),
        ages=np.array([row["age"] for row in rows]),
        genders=np.array([row["gender"] for row in rows]),
        yaw=np.array([float(row["yaw"]) for row in rows], dtype=np.float32),
        landmarks=_landmarks(rows, path),
        is_evaluation=np.arange(len(rows)) % EVALUATION_EVERY == 0,
    )


def _read_labels(archive: zipfile.ZipFile, path: Path) -> list[dict[str, str]]:
    if LABELS not in archive.namelist():
        raise TrainingDataError(f"{path} holds no {LABELS}; expected a face data set with one row a picture.")
    rows = list(csv.DictReader(io.TextIOWrapper(archive.open(LABELS), encoding="utf-8", newline="")))
    needed = {"file", "age", "gender", "yaw"} | {f"{point}_{axis}" for point in POINTS for axis in "xy"}
    missing = needed - set(rows[0]) if rows else needed
    if missing:
        raise TrainingDataError(f"{LABELS} in {path} lacks the columns {', '.join(sorted(missing))}.")
    return rows


def _landmarks(rows: list[dict[str, str]], path: Path) -> np.ndarray:
    try:
        values = [[[float(row[f"{point}_{axis}"]) for axis in "xy"] for point in POINTS] for row in rows]
    except ValueError as error:
        raise TrainingDataError(f"{LABELS} in {path} has a landmark that is not a number: {error}") from error
    return np.array(values, dtype=np.float32)


def _read_picture(archive: zipfile.ZipFile, name: str, resolution: int) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(archive.read(name))) as picture:
            rgb = picture.convert("RGB")
    except (KeyError, UnidentifiedImageError) as error:
        raise TrainingDataError(f"The picture {name} named by {LABELS} is missing or not a picture: {error}") from error
    if rgb.width != rgb.height:
        raise TrainingDataError(f"The picture {name} is {rgb.width}x{rgb.height}; aligned faces are square.")
    if rgb.width != resolution:
        rgb = rgb.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(rgb)
