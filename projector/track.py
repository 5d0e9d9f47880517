"""Where a face is in every frame of a video: found once, followed, and smoothed over time.

Convention: a track is float64 [T, 5, 2], the five landmarks of ``editkit.faces`` in pixels of the frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from editkit.crops import faces128
from editkit.errors import NoFaceError
from editkit.faces import face_in_box, find_faces


def follow(frames: Iterable[Tensor], *, face: int = 0) -> list[Tensor | None]:
    """The landmarks [5, 2] of one face in each frame [1, 3, H, W]; None where it is not seen.

    face: which one of the first frame that shows that many, 0 being the largest. Afterwards it is looked for where it
    was, then in the whole frame, where the nearest one counts if it overlaps the last place.
    """
    track: list[Tensor | None] = []
    last: Tensor | None = None
    for frame in frames:
        track.append(_next(frame, last, face))
        last = track[-1] if track[-1] is not None else last
    return track


def _next(frame: Tensor, last: Tensor | None, face: int) -> Tensor | None:
    if last is None:
        faces = find_faces(frame)
        return faces[face].points if len(faces) > face else None
    square = faces128(last)
    middle = square.corner + (square.right + square.down) / 2
    x, y = (middle - square.side / 2).tolist()
    seen = face_in_box(frame, (x, y, square.side, square.side))
    if seen is not None:
        return seen.points
    apart = [(float((one.points.mean(0) - last.mean(0)).norm()), one.points) for one in find_faces(frame)]
    near = [(distance, points) for distance, points in apart if distance < square.side / 2]
    return min(near, key=lambda pair: pair[0])[1] if near else None


def filled(track: Sequence[Tensor | None]) -> Tensor:
    """The track without gaps, [T, 5, 2]: linear between the frames that have the face, held before and after them.

    Raises NoFaceError where no frame has it.
    """
    seen = {index: points.double() for index, points in enumerate(track) if points is not None}
    if not seen:
        raise NoFaceError("no frame shows the face; --align centre takes the centre square of every frame")
    full = torch.empty(len(track), 5, 2, dtype=torch.float64)
    for index in range(len(track)):
        before = max((k for k in seen if k <= index), default=min(seen))
        after = min((k for k in seen if k >= index), default=max(seen))
        share = (index - before) / (after - before) if after > before else 0.0
        full[index] = torch.lerp(seen[before], seen[after], share)
    return full


def smoothed(values: Tensor, *, sigma: float) -> Tensor:
    """``values`` [T, ...] smoothed along the first axis; sigma in frames, 0 leaves them as they are.

    Local quadratic regression with Gaussian weights over four sigma (Cleveland 1979, "Robust Locally Weighted
    Regression", without its robust passes): steady motion and steady acceleration stay exactly as they are, at the ends
    too, where plain averaging would lag behind.
    """
    count, reach = len(values), math.ceil(4 * sigma)
    if sigma <= 0 or count < 4:
        return values.clone()
    flat = values.reshape(count, -1).double()
    result = torch.empty_like(flat)
    for at in range(count):
        first, end = max(0, at - reach), min(count, at + reach + 1)
        away = (torch.arange(first, end, dtype=torch.float64, device=flat.device) - at) / sigma
        powers = torch.stack((torch.ones_like(away), away, away * away), 1)  # [n, 3]
        weighted = powers * torch.exp(-0.5 * away * away)[:, None]
        kernel = torch.linalg.solve(weighted.T @ powers, weighted.T)[0]  # [n], the value of the fit at 0
        result[at] = kernel @ flat[first:end]
    return result.reshape(values.shape).to(values.dtype)


def flicker(frames: Sequence[Tensor]) -> float:
    """Mean absolute second difference over time of pictures [1, 3, H, W] in [-1, 1], in levels of 255.

    Frames are compared pixel by pixel, so that motion must have been taken out first: 0 for fewer than three.
    """
    if len(frames) < 3:
        return 0.0
    stack = torch.cat(list(frames)).double() * 127.5
    return float((stack[2:] - 2 * stack[1:-1] + stack[:-2]).abs().mean())
