"""A face data set made on the spot."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from editkit.crops import FACES128_POINTS
from train.faces import POINTS


def faces_zip(path: Path, *, count: int = 24, drop: str | None = None) -> Path:
    """Blank faces: coloured dots at jittered landmarks on a plain ground."""
    rng = np.random.default_rng(0)
    table = io.StringIO()
    columns = ["file", "age", "gender", "yaw", "sharpness"] + [f"{point}_{axis}" for point in POINTS for axis in "xy"]
    writer = csv.DictWriter(table, [column for column in columns if column != drop], extrasaction="ignore")
    writer.writeheader()
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            points = np.array(FACES128_POINTS) * 128 + rng.normal(0, 1, (5, 2))
            picture = Image.new("RGB", (128, 128), (index, 120, 90))
            for number, (x, y) in enumerate(points):
                picture.paste((250, 50 * number, 10), (int(x) - 6, int(y) - 6, int(x) + 6, int(y) + 6))
            stream = io.BytesIO()
            picture.save(stream, "WEBP", lossless=True)
            name = f"00000/face{index:06d}.webp"
            archive.writestr(name, stream.getvalue())
            values = {f"{p}_{a}": f"{v:.2f}" for p, point in zip(POINTS, points) for a, v in zip("xy", point)}
            writer.writerow({"file": name, "age": "20-29", "gender": "Female", "yaw": 0.01, "sharpness": 9, **values})
        archive.writestr("labels.csv", table.getvalue())
    return path
