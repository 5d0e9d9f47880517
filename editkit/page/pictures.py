"""Pictures for the browser: tensors [1, 3, H, W] or [3, H, W] in [-1, 1] to files of a desk."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from editkit.page.desk import Desk
from editkit.photo import image_to_uint8, write_image

SHOWN = 1600
"""Longest side of a photo on the screen; downloads have all of it."""
LOSSLESS_UP_TO = 256
"""Pixels a side up to which pictures are shown as PNG: small ones are enlarged by the browser, with every artefact."""
ACCENT = "#e8562a"


def show(desk: Desk, image: Tensor, name: str = "picture", *, lasting: bool = False) -> str:
    """A file to look at; one that is shown again and again is to be ``lasting``."""
    small = max(image.shape[-2:]) <= LOSSLESS_UP_TO
    path = desk.path(f"{name}.png" if small else f"{name}.jpg", lasting=lasting)
    if max(image.shape[-2:]) > SHOWN:
        picture = as_pil(image)
        picture.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
        picture.save(path, quality=90)
    else:
        write_image(path, image, quality=92, note=False)
    return str(path)


def enlarged(
    desk: Desk, image: Tensor, *, side: int = 512, marks: Sequence[Sequence[float]] = (), name: str = "picture"
) -> str:
    """A small picture at ``side`` pixels, with marks (x, y, target x, target y) drawn in."""
    picture = as_pil(image)
    scale = side / picture.width
    picture = picture.resize((side, round(picture.height * scale)), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for number, mark in enumerate(marks, start=1):
        points = [(mark[index] * scale, mark[index + 1] * scale) for index in range(0, len(mark), 2)]
        if len(points) == 2:
            draw.line(points, fill="white", width=5)
            draw.line(points, fill=ACCENT, width=3)
        for (x, y), moved in zip(points, (False, True), strict=False):
            fill, outline = ("white", ACCENT) if moved else (ACCENT, "white")
            draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=fill, outline=outline, width=3)
        draw.text(
            (points[0][0] + 11, points[0][1] - 18), str(number), fill="white", stroke_width=2, stroke_fill="black"
        )
    path = desk.path(f"{name}.png")
    picture.save(path)
    return str(path)


def as_pil(image: Tensor) -> Image.Image:
    """One picture for Pillow."""
    return Image.fromarray(image_to_uint8(image if image.ndim == 4 else image[None])[0].numpy())


def file_stem(name: str) -> str:
    """A name for files out of what a visitor's file was called: letters, digits, - and _, at most 40."""
    kept = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in Path(name).stem)
    return kept.strip("-")[:40] or "picture"


def copied(desk: Desk, path: str | Path) -> str:
    """A file of elsewhere as one of the desk's, so that the browser may have it."""
    place = desk.path(Path(path).name)
    shutil.copyfile(path, place)
    return str(place)
