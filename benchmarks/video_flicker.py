"""How much an edited video flickers: `editkit project-video` against inverting frame by frame.

    python benchmarks/video_flicker.py --photo me.jpg --out flicker [--frames 16 --steps 30 --paste replace]

A clip is made of one photo that is moved, turned and scaled by known amounts, with a little noise of a camera. Frame
by frame each gets `--alone` steps; ours gets `--steps` a frame and 150 for what all share. Flicker is the mean absolute
second difference over time, in levels of 255, of the output frames after the known motion has been taken out, inside
the face's crop; the clip itself has some, from its noise and from resampling it twice.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import torch
from torch import Tensor

import editkit
from editkit.alignment import Alignment, align
from editkit.edited_picture import render_edited
from editkit.edits import Recipe
from editkit.photo import Photo, read_photo
from editkit.seeds import normal
from editkit.video import write_video
from editkit.video_reader import read_frames
from editkit.warping import pad_edge, warp
from projector.clip import VIDEO, project_video
from projector.clip_search import FrameByFrame
from projector.job import Job
from projector.optimise import Optimise
from projector.search import project
from projector.track import flicker


def motions(frames: int, size: tuple[int, int]) -> list[Tensor]:
    """Where a pixel of the photo is in each frame, [3, 3]: drift, turn and zoom of a hand at 24 frames a second."""
    middle = torch.eye(3, dtype=torch.float64)
    middle[:2, 2] = torch.tensor(size, dtype=torch.float64) / 2
    found = []
    for index in range(frames):
        t = index / 24
        angle, scale = math.radians(4 * math.sin(3 * t)), 0.9 + 0.05 * t
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        x, y = 0.08 * size[0] * t, 0.02 * size[1] * math.sin(5 * t)
        move = torch.tensor([[cos, -sin, x], [sin, cos, y], [0, 0, 1]], dtype=torch.float64)
        found.append(middle @ move @ torch.linalg.inv(middle))
    return found


def moving(image: Tensor, where: Sequence[Tensor], *, noise: float = 1.5) -> list[Tensor]:
    """The photo [1, 3, H, W] as each matrix puts it; noise in levels of 255."""
    size = (image.shape[3], image.shape[2])
    frames = [warp(image, torch.linalg.inv(matrix), size, pad=pad_edge) for matrix in where]
    grain = [normal(7_000 + index, tuple(image.shape)) * noise / 127.5 for index in range(len(frames))]
    return [(frame + one).clamp(-1, 1) for frame, one in zip(frames, grain, strict=True)]


def steadied(
    frames: Sequence[Tensor], where: Sequence[Tensor], alignment: Alignment, *, side: int = 128
) -> list[Tensor]:
    """The face's crop of every frame with the known motion taken out, [1, 3, side, side]."""
    unit = torch.diag(torch.tensor([alignment.crop_size / side] * 2 + [1.0], dtype=torch.float64))
    to_photo = torch.linalg.inv(alignment.photo_to_crop) @ unit
    return [warp(f, matrix @ to_photo, (side, side), pad=pad_edge) for f, matrix in zip(frames, where, strict=True)]


def frame_by_frame(job: Job, frames: Sequence[Tensor], *, alone: Optimise) -> tuple[list[Tensor], float]:
    """Every frame as if it were a photo, and the mean PSNR."""
    G, done, close = job.generator, [], []
    for frame in frames:
        face = align(Photo(image=frame), G.spec, convention=job.convention, face=0)
        found = project(G, face, alone, perceptual=job.perceptual)
        edited = render_edited(G, found.latent, job.recipe).clamp(-1, 1)
        before = found.image.clamp(-1, 1) if job.paste == "difference" else None
        done.append(face.paste_back(edited, inverted=before))
        close.append(found.metrics["psnr"])
    return done, sum(close) / len(close)


def compare(
    job: Job, photo: Photo, out: Path, *, frames: int, method: FrameByFrame, alone: Optimise
) -> dict[str, float]:
    """Flicker of the clip, of frame-by-frame inversion and of ours; videos are written into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    where = motions(frames, photo.size)
    write_video(out / "clip.mp4", moving(photo.image, where), fps=24.0, quality=100)
    clip = list(read_frames(out / "clip.mp4"))
    alignment = align(photo, job.generator.spec, convention=job.convention).alignment
    plain, psnr = frame_by_frame(job, clip, alone=alone)
    write_video(out / "frame_by_frame.mp4", plain, fps=24.0, quality=100)
    report = project_video(job, out / "clip.mp4", out / "ours", method=method)
    ways = {"clip": clip, "frame_by_frame": list(read_frames(out / "frame_by_frame.mp4")),
            "ours": list(read_frames(out / "ours" / VIDEO))}  # fmt: skip
    found = {name: flicker(steadied(each, where, alignment)) for name, each in ways.items()}
    return found | {"psnr_frame_by_frame": psnr, "psnr_ours": report["metrics"]["psnr_mean"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--alone", type=int, default=60)
    parser.add_argument("--paste", choices=("difference", "replace"), default="difference")
    parser.add_argument("--edit", default="brightness=1.5", metavar="NAME=STRENGTH")
    args = parser.parse_args()
    import directions
    from editkit.perceptual import best_available

    G = editkit.load_generator()
    name, _, strength = args.edit.partition("=")
    recipe = Recipe(name=name, edits=(editkit.Edit(directions.load(G, name), float(strength)),))
    job = Job(generator=G, method=Optimise(), perceptual=best_available(G.device), recipe=recipe)
    one = replace(job, paste=args.paste)
    ways = {"method": FrameByFrame(steps=args.steps), "alone": Optimise(steps=args.alone)}
    found = compare(one, read_photo(args.photo), args.out, frames=args.frames, **ways)
    print(args.paste, json.dumps({key: round(value, 3) for key, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
