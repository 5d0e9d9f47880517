"""How fast training gets its pictures, mirrored: decoded as they come, from a file of decoded ones, from memory.

    python benchmarks/loading.py [--data mine.zip] [--resolution 256] [--batch 32] [--workers 1] [--seconds 5]

Without ``--data`` PNG pictures with a grain are made first. What a training on the same machine takes a second is in
its own lines of progress; that and these figures say whether the loading keeps up.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

import numpy as np
from PIL import Image

from train.dataset import open_dataset
from train.dataset_loader import load_batches

WAYS: dict[str, tuple[Literal["none", "disk", "memory"], bool]] = {  # where they are kept, and whether workers help
    "decoded by workers": ("none", True),
    "decoded pictures in a file, by workers": ("disk", True),
    "decoded pictures in memory": ("memory", False),
}


def pictures(path: Path, *, count: int, resolution: int) -> Path:
    """A zip of smooth pictures with a grain: PNG of photographs is decoded at about the same rate."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as packed:
        for index in range(count):
            coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
            smooth = np.asarray(coarse.resize((resolution, resolution), Image.Resampling.BICUBIC), np.int16)
            grain = random.integers(-4, 5, smooth.shape, np.int16)
            stream = io.BytesIO()
            Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(stream, "png")
            packed.writestr(f"{index:06d}.png", stream.getvalue())
    return path


def rate(
    data: Path, cache: Literal["none", "disk", "memory"], folder: Path, *, resolution: int, batch: int, workers: int,
    seconds: float,
) -> float:  # fmt: skip
    """Pictures a second after the first pass, which fills what is filled and starts the workers."""
    dataset = open_dataset(data, resolution=resolution, xflip=True, cache=cache, cache_folder=folder)
    with closing(load_batches(dataset, batch=batch, workers=workers)) as batches:
        for _ in range(max(4 * workers, len(dataset) // batch + 1 if cache == "disk" else 0) + 1):
            next(batches)
        seen, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            seen += len(next(batches).images)
        return seen / (time.perf_counter() - started)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a zip or folder (default: pictures made for it)")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1, help="processes that decode (1)")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (5)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        count = max(2 * args.batch, min(512, 2**25 // args.resolution**2))
        data = args.data or pictures(folder / "made.zip", count=count, resolution=args.resolution)
        for name, (cache, helped) in WAYS.items():
            found = rate(
                data,
                cache,
                folder,
                resolution=args.resolution,
                batch=args.batch,
                workers=args.workers if helped else 0,
                seconds=args.seconds,
            )
            print(f"{args.resolution} px, {name}: {found:,.0f} pictures a second", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
