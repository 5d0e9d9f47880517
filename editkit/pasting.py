"""Pasting a crop back into its photo: the whole crop, or only what an edit changed of it.

Convention:
    images are float32 [1, 3, H, W] in [-1, 1]; ``photo_to_crop`` is forward, in pixels (see ``editkit.alignment``).

A generator's picture has less detail than the photo it stands for. Replacing the crop puts that blur into the photo;
adding the difference of edited and inverted picture keeps the photo's detail and leaves every bit of the photo where
nothing was edited. Where an edit moves edges far (a wide turn of the head), the photo's edges stay and show as ghosts:
there replacing is more honest, and a picture that is moved as a whole replaces the crop whatever was asked for:
``editkit.edited_picture.paste_way`` decides that for all commands and the page.
"""

from typing import Literal

import torch
from torch import Tensor

from editkit.errors import UsageError
from editkit.warping import corners, pad_edge, warp

FEATHER = 0.08
"""Width of the soft edge of a pasted crop, as a fraction of its side."""
Paste = Literal["difference", "replace"]
PASTES: tuple[Paste, ...] = ("difference", "replace")
"""Ways of pasting, for ``--paste``; the first one is the default."""


def paste(
    photo: Tensor,
    image: Tensor,
    *,
    photo_to_crop: Tensor,
    crop_size: int,
    inverted: Tensor | None = None,
    feather: float = FEATHER,
) -> Tensor:
    """``photo`` [1, 3, H, W] with ``image`` [1, 3, S, S] in the place of the crop; S need not be the crop's size.

    The edge is soft over ``feather`` of the crop's side, except along the photo's own border; outside the crop every
    pixel of the photo stays as it was, bit for bit.

    inverted: as ``image``, before the edit: the photo then gets ``image - inverted``, and keeps every bit where they
        are equal. None: the crop is replaced, its colours matched to the photo's along the soft edge.
    Raises UsageError where an image is not one square picture, or ``inverted`` has another size.
    """
    if image.ndim != 4 or image.shape[:2] != (1, 3) or image.shape[2] != image.shape[3]:
        raise UsageError(f"one square image [1, 3, S, S] is pasted back, got {tuple(image.shape)}")
    if inverted is not None and inverted.shape != image.shape:
        raise UsageError(f"the inverted picture is {tuple(inverted.shape)}, the edited one {tuple(image.shape)}")
    if not 0 <= feather <= 0.5:
        raise UsageError(f"feather is a fraction of the crop's side, 0 to 0.5, got {feather}")
    photo_size = (photo.shape[3], photo.shape[2])
    unit = torch.diag(torch.tensor([1 / crop_size] * 2 + [1.0], dtype=torch.float64))
    to_unit = unit @ photo_to_crop  # photo pixels -> fractions of the crop
    left, top, right, bottom = _reached(to_unit, photo_size)
    result = photo.clone()
    if left >= right or top >= bottom:
        return result
    shift = torch.eye(3, dtype=torch.float64)
    shift[:2, 2] = torch.tensor([left, top], dtype=torch.float64)
    to_image = torch.diag(torch.tensor([image.shape[3]] * 2 + [1.0], dtype=torch.float64)) @ to_unit @ shift
    size = (right - left, bottom - top)
    mask = _mask(to_unit @ shift, size, feather, _open_sides(to_unit, photo_size))
    region = result[:, :, top:bottom, left:right]
    given = image.detach().to("cpu", torch.float32)
    if inverted is None:
        placed = warp(given, to_image, size, pad=pad_edge).clamp(-1, 1)
        changed = region.lerp(_matched(placed, region, mask), mask)
    else:
        difference = warp(given - inverted.detach().to("cpu", torch.float32), to_image, size, pad=pad_edge)
        # x + 0 is x bit for bit; the limits are the photo's own where it has none of ours
        changed = torch.where(difference == 0, region, (region + mask * difference).clamp(-1, 1))
    result[:, :, top:bottom, left:right] = torch.where(mask > 0, changed, region)
    return result


def _matched(placed: Tensor, region: Tensor, mask: Tensor) -> Tensor:
    """``placed`` with its mean colour along the soft edge brought to the photo's, less and less towards the middle.

    The correction falls with the mask, so that an edit of the whole picture's colour is not taken back inside.
    """
    ring = mask * (1 - mask)  # [1, 1, h, w]; 0 outside and where the crop stands alone
    total = ring.sum()
    if not bool(total > 0):
        return placed
    offset = ((region - placed) * ring).sum((2, 3), keepdim=True) / total  # [1, 3, 1, 1]
    return (placed + offset * (1 - mask)).clamp(-1, 1)


def _reached(to_unit: Tensor, photo_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The pixels of the photo that the crop may touch: left, top, right, bottom."""
    edges = (torch.linalg.inv(to_unit) @ corners((1, 1)))[:2]
    left, top = (max(0, int(value)) for value in edges.amin(1).floor().tolist())
    right, bottom = edges.amax(1).ceil().tolist()
    return left, top, min(photo_size[0], int(right)), min(photo_size[1], int(bottom))


def _open_sides(to_unit: Tensor, photo_size: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Whether the photo goes on beyond the crop's left, top, right and bottom edge; only there is the mask soft."""
    x, y = (torch.linalg.inv(to_unit) @ corners((1, 1)))[:2]
    beyond = torch.stack((x <= 0.5, y <= 0.5, x >= photo_size[0] - 0.5, y >= photo_size[1] - 0.5))  # [4, corners]
    ends = ((0, 3), (0, 1), (1, 2), (2, 3))  # corners of each edge, left, top, right, bottom
    left, top, right, bottom = (not bool((beyond[:, a] & beyond[:, b]).any()) for a, b in ends)
    return left, top, right, bottom


def _mask(to_unit: Tensor, size: tuple[int, int], feather: float, open_sides: tuple[bool, bool, bool, bool]) -> Tensor:
    """[1, 1, height, width]: 0 outside the crop, rising smoothly to 1 over ``feather`` of its side."""
    x = torch.arange(size[0], dtype=torch.float64) + 0.5
    y = torch.arange(size[1], dtype=torch.float64) + 0.5
    across = to_unit[0, 0] * x[None] + (to_unit[0, 1] * y + to_unit[0, 2])[:, None]
    along = to_unit[1, 0] * x[None] + (to_unit[1, 1] * y + to_unit[1, 2])[:, None]
    mask = torch.ones(size[1], size[0])
    for depth, is_open in zip((across, along, 1 - across, 1 - along), open_sides, strict=True):
        ramp = (depth / max(feather, 1e-9)).clamp(0, 1) if is_open else (depth > 0).double()
        mask = mask * (ramp * ramp * (3 - 2 * ramp)).float()
    return mask[None, None]
