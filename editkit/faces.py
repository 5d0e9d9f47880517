"""Finding faces with no download: scikit-image's frontal-face cascade proposes, our landmark network decides.

Every proposal is looked at several times: the network's five points say where the next, upright crop goes. What it does
not believe after the last look is dropped, and of sightings of one face the surest is kept.

Convention:
    pictures are float32 [1, 3, H, W] in [-1, 1]; points are (x, y) in picture pixels, centres at +0.5. A frame
    [2, 3] is where a crop lies: columns are the vectors along its top and left edges and its top-left corner.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from editkit.crops import FACES128_HEIGHT, FACES128_SIDE, square_around
from editkit.networks.landmarks import INPUT_RESOLUTION, LandmarkNetwork, load_landmark_network

MIN_CONFIDENCE = 0.9
_SEARCH_CONFIDENCE = 0.99  # of hundreds of squares a few look a little like faces
LOOKS = 3
_CASCADE_SIDE = 480  # the cascade runs on a copy of this longer side
_WORKING_SIDE = 1600  # the network on one of this
_SAMPLES = 2 * INPUT_RESOLUTION  # a crop is sampled at twice the input resolution, then averaged
_BATCH = 64
# The last two looks must agree to this part of the eye distance, and one face's sightings are closer than SAME_FACE.
_STEADY, _SAME_FACE = 0.12, 0.6
_TILTS = (0.0, -40.0, 40.0)  # degrees at which squares are searched where the cascade finds nothing
# Side of the face crop over the side of the cascade's box, and how far its centre lies below the box's, in box sides.
_CASCADE_SCALE, _CASCADE_DROP = 1.0, 0.09


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sightings:
    """What the last look at K frames saw."""

    points: Tensor  # float64 [K, 5, 2], picture pixels
    confidence: Tensor  # float32 [K], in [0, 1]
    drift: Tensor  # float64 [K], mean distance to the points of the look before, in eye distances


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Face:
    """One face of a picture."""

    points: Tensor  # float64 [5, 2], picture pixels
    confidence: float

    @property
    def size(self) -> float:
        """Mean of eye distance and eye-to-mouth distance, in pixels."""
        return float(_sizes(self.points[None]))


def find_faces(picture: Tensor) -> list[Face]:
    """All faces of a picture [1, 3, H, W], largest first; near-frontal ones, tilted by up to about 35 degrees.

    Where the cascade's boxes hold none, squares all over the picture are searched, upright and tilted.
    """
    longer = max(picture.shape[2:])
    scale = max(1.0, longer / _WORKING_SIDE)
    working = functional.interpolate(picture, scale_factor=1 / scale, mode="area") if scale > 1 else picture
    scales = torch.tensor([picture.shape[3] / working.shape[3], picture.shape[2] / working.shape[2]])
    network = load_landmark_network()
    faces = _believed(refine(network, working, torch.cat((_cascade_boxes(working), _centre_boxes(working)))))
    if not faces:
        faces = _believed(_search(network, working), least=_SEARCH_CONFIDENCE, witnesses=2)
    found = [Face(points=face.points * scales, confidence=face.confidence) for face in faces]
    return sorted(found, key=lambda face: -face.size)


def face_in_box(picture: Tensor, box: tuple[float, float, float, float]) -> Face | None:
    """The face in a square box (x, y, width, height), or None where the network does not believe in one."""
    x, y, width, height = box
    side = max(width, height)
    middle = (x + width / 2, y + height / 2)
    tries = [(middle[0] - side * s / 2, middle[1] - side * s / 2, side * s, side * s) for s in (1.0, 0.8, 1.25)]
    faces = _believed(refine(load_landmark_network(), picture, torch.tensor(tries, dtype=torch.float64)))
    return max(faces, key=lambda face: face.confidence, default=None)


def refine(network: LandmarkNetwork, picture: Tensor, boxes: Tensor, *, looks: int = LOOKS) -> Sightings:
    """Look at square boxes [K, 4] (x, y, side, side), then again and again at where the last look saw the face."""
    return _refine(network, picture, _upright_frames(boxes.to(torch.float64)), looks=looks)


def _refine(network: LandmarkNetwork, picture: Tensor, frames: Tensor, *, looks: int) -> Sightings:
    levels = _pyramid(picture)
    longest = 4.0 * max(picture.shape[2:])
    points, confidence = _look(network, levels, frames)
    before = points
    for _ in range(looks - 1):
        before = points
        points, confidence = _look(network, levels, _frames_from(points, longest=longest))
    eyes = (points[:, 1] - points[:, 0]).norm(dim=1).clamp_min(1e-6)
    drift = (points - before).norm(dim=2).mean(1) / eyes
    return Sightings(points=points, confidence=confidence, drift=drift)


def _pyramid(picture: Tensor) -> list[Tensor]:
    """The picture and its halves."""
    levels = [picture]
    while min(levels[-1].shape[2:]) >= _SAMPLES:
        levels.append(functional.avg_pool2d(levels[-1], 2))
    return levels


@torch.no_grad()
def _look(network: LandmarkNetwork, levels: list[Tensor], frames: Tensor) -> tuple[Tensor, Tensor]:
    """Points [K, 5, 2] in picture pixels and confidences [K] of the crops at frames [K, 2, 3]."""
    points, confidence = torch.empty(len(frames), 5, 2, dtype=torch.float64), torch.empty(len(frames))
    for start in range(0, len(frames), _BATCH):
        chunk = frames[start : start + _BATCH]
        seen = network(torch.cat([_crop(levels, frame) for frame in chunk]))
        places = torch.cat((seen.points.double(), torch.ones(len(chunk), 5, 1, dtype=torch.float64)), 2)
        points[start : start + _BATCH] = places @ chunk.mT
        confidence[start : start + _BATCH] = seen.confidence
    return points, confidence


def _crop(levels: list[Tensor], frame: Tensor) -> Tensor:
    """The crop [1, 3, 64, 64] at a frame, from the level of the pyramid that is nearest to its resolution."""
    step = float(frame[:, 0].norm()) / _SAMPLES
    index = min(max(0, round(math.log2(max(step, 1e-6)))), len(levels) - 1)
    level = levels[index]
    size = torch.tensor([level.shape[3], level.shape[2]], dtype=torch.float64) * 2**index
    # affine_grid runs over [-1, 1]; a frame over [0, 1]; grid_sample wants [-1, 1] over the level.
    right, down, corner = (column / size for column in frame.T)
    theta = torch.stack((right, down, 2 * corner + right + down - 1), 1)
    grid = functional.affine_grid(theta[None].float(), [1, 3, _SAMPLES, _SAMPLES], align_corners=False)
    crop = functional.grid_sample(level, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return functional.avg_pool2d(crop, 2)


def _upright_frames(boxes: Tensor) -> Tensor:
    """Boxes [K, 4] -> frames [K, 2, 3]."""
    zero = torch.zeros(len(boxes), dtype=torch.float64)
    rows = (torch.stack((boxes[:, 2], zero, boxes[:, 0]), 1), torch.stack((zero, boxes[:, 3], boxes[:, 1]), 1))
    return torch.stack(rows, 1)


def _frames_from(points: Tensor, *, longest: float) -> Tensor:
    """Upright frames [K, 2, 3] in the faces128 convention around points [K, 5, 2]."""
    middle = (points[:, :2].mean(1) + points[:, 3:].mean(1)) / 2
    side = (FACES128_SIDE * _sizes(points)).clamp(8.0, longest)
    line = functional.normalize(points[:, 1] - points[:, 0], dim=1)
    right = line * side[:, None]
    down = torch.stack((-right[:, 1], right[:, 0]), 1)
    return torch.stack((right, down, middle - 0.5 * right - FACES128_HEIGHT * down), 2)


def _sizes(points: Tensor) -> Tensor:
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    return ((points[:, 1] - points[:, 0]).norm(dim=1) + (mouth - eyes).norm(dim=1)) / 2


def _believed(seen: Sightings, *, least: float = MIN_CONFIDENCE, witnesses: int = 1) -> list[Face]:
    """Confident, steady sightings that at least ``witnesses`` frames led to; of those of one face the surest."""
    good = torch.nonzero((seen.confidence >= least) & (seen.drift < _STEADY)).flatten()
    sure_first = sorted(good.tolist(), key=lambda index: -float(seen.confidence[index]))
    sightings = [Face(points=seen.points[index], confidence=float(seen.confidence[index])) for index in sure_first]
    kept: list[Face] = []
    for face in sightings:
        if any(_same(face, other) for other in kept):
            continue
        if sum(_same(face, other) for other in sightings) >= witnesses:
            kept.append(face)
    return kept


def _same(first: Face, second: Face) -> bool:
    apart = float((first.points.mean(0) - second.points.mean(0)).norm())
    return apart < _SAME_FACE * max(first.size, second.size)


def _cascade_boxes(picture: Tensor) -> Tensor:
    """Square boxes [K, 4] around what the cascade takes for faces, in the framing of the landmark network."""
    shrink = min(1.0, _CASCADE_SIDE / max(picture.shape[2:]))
    small = functional.interpolate(picture, scale_factor=shrink, mode="area") if shrink < 1 else picture
    pixels = ((small[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).to(torch.uint8).numpy()
    shorter = min(small.shape[2:])
    found = _cascade().detect_multi_scale(
        img=np.ascontiguousarray(pixels),
        scale_factor=1.2,
        step_ratio=1,
        min_size=(max(24, shorter // 12),) * 2,
        max_size=(shorter, shorter),
    )
    boxes = torch.tensor(
        [(box["c"], box["r"], box["width"], box["height"]) for box in found], dtype=torch.float64
    ).reshape(-1, 4)
    centre, side = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:].amax(1, keepdim=True)
    centre[:, 1:] += _CASCADE_DROP * side
    side = side * _CASCADE_SCALE
    return torch.cat((centre - side / 2, side, side), 1) / shrink


@lru_cache(maxsize=1)
def _cascade():
    import skimage.data
    import skimage.feature

    return skimage.feature.Cascade(skimage.data.lbp_frontal_face_cascade_filename())


def _centre_boxes(picture: Tensor) -> Tensor:
    """Squares where the face of a tight crop or a portrait lies, which the cascade often misses."""
    height, width = picture.shape[2:]
    sides = [share * min(height, width) for share in (1.0, 0.8, 0.6, 0.45) for _ in range(2)]
    heights = (0.5, 0.4) * 4
    boxes = [(width / 2 - s / 2, along * height - s / 2, s, s) for s, along in zip(sides, heights, strict=True)]
    return torch.tensor(boxes, dtype=torch.float64)


def _search(network: LandmarkNetwork, picture: Tensor, *, keep: int = 24) -> Sightings:
    """One look at squares of many sizes all over the picture, the larger ones also tilted; more at the best of them.

    Sizes and steps are as far apart as the network's training lets it make up for.
    """
    shorter = min(picture.shape[2:])
    frames = [
        frame
        for share, tilts in ((1.0, _TILTS), (0.71, _TILTS), (0.5, _TILTS), (0.36, (0.0,)), (0.26, (0.0,)))
        for tilt in tilts
        for frame in _lattice(picture, share * shorter, tilt)
    ]
    stacked = torch.stack(frames)
    first = _refine(network, picture, stacked, looks=1)
    best = first.confidence.topk(min(keep, len(stacked))).indices
    return _refine(network, picture, stacked[best], looks=LOOKS + 1)


def _lattice(picture: Tensor, side: float, tilt: float) -> Iterator[Tensor]:
    """Frames [2, 3] of one size and tilt (degrees) all over the picture."""
    places = [
        np.linspace(side / 2, extent - side / 2, 1 + math.ceil(max(0.0, extent - side) / (0.3 * side)))
        for extent in picture.shape[2:]
    ]
    for y in places[0]:
        for x in places[1]:
            square = square_around(torch.tensor([x, y], dtype=torch.float64), side, degrees=tilt)
            yield torch.stack((square.right, square.down, square.corner), 1)
