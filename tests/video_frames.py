"""Shared by the tests of videos: frames, and how they are read back."""

import numpy as np
import torch
from PIL import Image

FILES = ("a.mp4", "a.gif", "a.webp", "folder")
COUNT = 7


def ramp(index: int, *, height: int = 40, width: int = 48) -> torch.Tensor:
    """[3, H, W]: smooth colours that change from frame to frame, strong ones, so that a wrong matrix shows."""
    x = torch.linspace(-1, 1, width).expand(height, width)
    y = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    return torch.stack([x, y, torch.full_like(x, 1 - 2 * index / (COUNT - 1))])


FRAMES = [ramp(index) for index in range(COUNT)]


def pixels_of(frame: torch.Tensor) -> np.ndarray:
    return ((frame.permute(1, 2, 0) + 1) * 127.5).round().numpy()


def read(path) -> list[np.ndarray]:
    """Every frame as RGB [H, W, 3], by another library than Pillow for mp4."""
    if path.suffix == ".mp4":
        import av

        with av.open(str(path)) as container:
            options = {"format": "rgb24", "src_colorspace": "ITU709", "src_color_range": "MPEG"}
            return [frame.reformat(**options).to_ndarray() for frame in container.decode(video=0)]
    if path.is_dir():
        return [np.asarray(Image.open(file)) for file in sorted(path.glob("frame_*.png"))]
    with Image.open(path) as picture:
        found = []
        for index in range(picture.n_frames):
            picture.seek(index)
            found.append(np.asarray(picture.convert("RGB")))
        return found
