"""Data sets to train on: a folder or a zip of pictures, read as squares of one size with their labels.

Convention:
    pictures are uint8 [R, R, C], C = 1 grey, 3 RGB, 4 RGB with alpha; ``editkit.photo.image_from_uint8`` makes
    float32 [N, C, R, R] in [-1, 1] of a batch. Labels are float32 [N, c_dim]: one-hot for a class, or a vector.
    Pictures are in the order of their names; with ``xflip``, index N + i is picture i mirrored.
A zip (or folder) with the official ``dataset.json`` and the face data sets with ``labels.csv`` are both read; of the
latter every tenth row is for evaluation, and left out unless asked for.
"""

import csv
import hashlib
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from editkit.errors import OutputError, PhotoError, TrainingDataError, UsageError
from editkit.files import user_folder
from editkit.memory import free_memory
from train.dataset_cache import PixelCache
from train.dataset_labels import json_labels, shown
from train.dataset_pixels import CHANNELS, Crop, crop_pixels, header, read_pixels, sizes_text, square_pixels
from train.dataset_source import Source
from train.faces import EVALUATION_EVERY
from train.faces import LABELS as FACE_LABELS

log = logging.getLogger(__name__)

DOCUMENT = "dataset.json"
MEMORY_LIMIT = 2**31  # bytes of decoded pictures up to which memory keeps them
MOST_HEADERS = 20_000  # sizes are compared on at most so many pictures beforehand, and on every one when it is decoded

_BROKEN = (
    "`editkit dataset check` finds all such pictures first, `editkit dataset build` leaves them out of a new data set"
)

Part = Literal["train", "evaluation", "all"]
Cache = Literal["auto", "memory", "disk", "none"]


class Batch(NamedTuple):
    """Pictures with their labels."""

    images: Tensor  # uint8 [B, R, R, C]
    labels: Tensor  # float32 [B, c_dim]


class ImageDataset(torch.utils.data.Dataset[tuple[np.ndarray, np.ndarray]]):
    """What ``open_dataset`` gives. ``dataset[i]`` is a picture; a list of indices makes a batch. Picklable."""

    def __init__(
        self,
        source: Source,
        names: Sequence[str],
        *,
        resolution: int,
        channels: int,
        resize: bool,
        classes: np.ndarray | None,
        c_dim: int,
        class_names: tuple[str, ...],
        xflip: bool,
    ) -> None:
        """classes: int64 [N] or float32 [N, c_dim]; None: no labels."""
        self.source, self.names = source, tuple(names)
        self.resolution, self.channels, self.resize = resolution, channels, resize
        self.c_dim, self.class_names, self.xflip = c_dim, class_names, xflip
        self.cache: PixelCache | None = None
        self.classes = classes
        self._hash: str | None = None

    def __len__(self) -> int:
        return len(self.names) * (2 if self.xflip else 1)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [R, R, C] and float32 [c_dim]. Raises IndexError, and TrainingDataError for a damaged picture."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"the data set has {len(self)} pictures, got the index {index}")
        flipped, place = divmod(index % len(self), len(self.names))
        pixels = self.pixels(place)
        return (np.ascontiguousarray(pixels[:, ::-1]) if flipped else pixels), self.labels([place])[0]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of ``indices``; a DataLoader calls this."""
        images = np.empty((len(indices), self.resolution, self.resolution, self.channels), np.uint8)
        for row, index in enumerate(indices):
            flipped, place = divmod(int(index), len(self.names))
            pixels = self.pixels(place)
            images[row] = pixels[:, ::-1] if flipped else pixels
        return Batch(torch.from_numpy(images), torch.from_numpy(self.labels(indices)))

    def labels(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """float32 [len(indices), c_dim]: one-hot, or vectors."""
        places = np.asarray(indices, np.int64) % len(self.names)
        if self.classes is None:
            return np.zeros((len(places), 0), np.float32)
        chosen = self.classes[places]
        if chosen.ndim == 2:
            return chosen.astype(np.float32)
        one_hot = np.zeros((len(places), self.c_dim), np.float32)
        one_hot[np.arange(len(places)), chosen] = 1
        return one_hot

    def pixels(self, place: int) -> np.ndarray:
        """Picture ``place`` of ``names``, not mirrored: uint8 [R, R, C], not to be written to."""
        if self.cache is None:
            return self._decode(place)
        kept = self.cache.get(place)
        if kept is None:
            self.cache.put(place, kept := self._decode(place))
        return kept

    def fill(self, *, workers: int = 2, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Decode every picture into the cache now. Does nothing without one."""
        if self.cache is None or self.cache.filled == len(self.names):
            return
        with ThreadPoolExecutor(workers) as pool:
            try:
                for done, _ in enumerate(pool.map(self.pixels, range(len(self.names))), 1):
                    if on_progress is not None:
                        on_progress(done, len(self.names))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    @property
    def data_hash(self) -> str:
        """32 hex digits of what is trained on: names, contents, labels, size, channels, flips. Not of where it lies.

        Reads a folder's files once; a zip knows its contents' checksums.
        """
        if self._hash is None:
            about = [self.content_hash, self.resolution, self.channels, self.xflip, self.c_dim]
            digest = hashlib.sha256(json.dumps(about).encode())
            if self.classes is not None:
                digest.update(str(self.classes.dtype).encode() + np.ascontiguousarray(self.classes).tobytes())
            self._hash = digest.hexdigest()[:32]
        return self._hash

    @property
    def content_hash(self) -> str:
        """32 hex digits of the names and contents of the picture files alone."""
        digest = hashlib.sha256()
        for name in self.names:
            size, checksum = self.source.stamp(name)
            digest.update(f"{name}\0{size}\0{checksum}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:32]

    def _decode(self, place: int) -> np.ndarray:
        name, side = self.names[place], self.resolution
        try:
            pixels = read_pixels(self.source.read(name), name, channels=self.channels)
        except PhotoError as error:
            raise TrainingDataError(f"{error}; {_BROKEN}") from error
        if pixels.shape[:2] == (side, side):
            return pixels
        if not self.resize:
            raise TrainingDataError(
                f"{name} of {self.source.path} is {pixels.shape[1]} x {pixels.shape[0]}, the others {side} x {side}; "
                "give --resolution, or build a data set with `editkit dataset build --resolution`"
            )
        crop = Crop(resolution=side)
        return square_pixels(crop_pixels(pixels, crop), crop)[0]


def open_dataset(
    path: str | Path,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    use_labels: bool = False,
    xflip: bool = False,
    max_images: int | None = None,
    seed: int = 0,
    part: Part = "train",
    cache: Cache = "auto",
    cache_folder: str | Path | None = None,
) -> ImageDataset:
    """Open a folder or zip of pictures to train on.

    resolution: side R; pictures of other sizes are cut to their centre square and reduced or enlarged to it. None: the
        one size that all pictures have.
    channels: 1, 3 or 4; None: 1 where all are grey, 4 where all have alpha, else 3.
    use_labels: read the labels of ``dataset.json``.
    max_images: keep so many, drawn by ``seed``, in the order of their names.
    part: of a face data set with ``labels.csv``; others have one part, "train", which is all of them.
    cache: where decoded pictures are kept: memory up to 2 GiB (and a quarter of what is free), else a file in
        ``cache_folder`` ($EDITKIT_HOME/datasets by default).
    Raises TrainingDataError: nothing to train on, fewer than two pictures, mixed sizes or not square without
        ``resolution``, labels that do not fit. UsageError: options that do not.
    """
    if channels is not None and channels not in CHANNELS:
        raise UsageError(f"a data set has 1, 3 or 4 channels, got {channels}")
    if max_images is not None and max_images < 2:
        raise UsageError(f"training takes two pictures at the least, got max_images={max_images}")
    source = Source(path)
    names = _part(source, part)
    if len(names) < 2:
        raise TrainingDataError(f"{source.path} holds one picture; training takes two at the least, better thousands")
    kept = names
    if max_images is not None and max_images < len(names):
        drawn = np.random.default_rng([seed]).permutation(len(names))[:max_images]
        kept = tuple(names[place] for place in sorted(drawn.tolist()))
    if source.special:
        log.warning("%s: %d are no files and are left out, such as %s", path, len(source.special), source.special[0])
    labels = json_labels(source.read(DOCUMENT)) if use_labels and DOCUMENT in source.others else None
    if use_labels and labels is None:
        raise TrainingDataError(
            f"{source.path} has no labels in a {DOCUMENT}; make them with `editkit dataset build --labels`, "
            "or train without"
        )
    side, found = _common(source, kept, resolution)
    dataset = ImageDataset(
        source,
        kept,
        resolution=Crop(resolution=side).resolution or side,
        channels=channels or found,
        resize=resolution is not None,
        classes=None if labels is None else labels.of(kept, among=source.names),
        c_dim=0 if labels is None else labels.c_dim,
        class_names=() if labels is None else labels.class_names,
        xflip=xflip,
    )
    dataset.cache = _cache(dataset, cache, cache_folder)
    return dataset


def _part(source: Source, part: Part) -> tuple[str, ...]:
    if part not in ("train", "evaluation", "all"):
        raise UsageError(f'a part is "train", "evaluation" or "all", got {part!r}')
    if FACE_LABELS not in source.others or DOCUMENT in source.others:
        if part == "evaluation":
            raise UsageError(f"{source.path} has no evaluation part; only face data sets with {FACE_LABELS} have one")
        return source.names
    try:
        rows = list(csv.DictReader(io.StringIO(source.read(FACE_LABELS).decode("utf-8"), newline="")))
        listed = [row["file"] for row in rows]
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingDataError(f"{FACE_LABELS} of {source.path} cannot be read: {error!r}") from error
    lost = sorted(set(listed).difference(source.names))
    if lost:
        raise TrainingDataError(f"{FACE_LABELS} of {source.path} names pictures that are not there: {shown(lost)}")
    wanted = {"train": (False,), "evaluation": (True,), "all": (False, True)}[part]
    return tuple(sorted(name for row, name in enumerate(listed) if (row % EVALUATION_EVERY == 0) in wanted))


def _common(source: Source, names: Sequence[str], resolution: int | None) -> tuple[int, int]:
    """The side and the channels that pictures have in common, from their headers."""
    step = -(-len(names) // MOST_HEADERS)
    try:
        headers = [header(source, name) for name in names[::step]]
    except PhotoError as error:
        raise TrainingDataError(f"{error}; {_BROKEN}") from error
    kinds = {channels for _, channels in headers}
    channels = kinds.pop() if len(kinds) == 1 else 3
    sizes = Counter(size for size, _ in headers)
    if resolution is not None:
        return resolution, channels
    if len(sizes) > 1:
        raise TrainingDataError(
            f"{source.path} has pictures of mixed sizes: {sizes_text(sizes)}; "
            "give --resolution to bring them to one size"
        )
    ((width, height),) = sizes
    if width != height:
        raise TrainingDataError(
            f"the pictures of {source.path} are {width} x {height}, not square; give --resolution to cut them"
        )
    return width, channels


def _cache(dataset: ImageDataset, cache: Cache, folder: str | Path | None) -> PixelCache | None:
    if cache not in ("auto", "memory", "disk", "none"):
        raise UsageError(f'a cache is "auto", "memory", "disk" or "none", got {cache!r}')
    shape = (len(dataset.names), dataset.resolution, dataset.resolution, dataset.channels)
    small = int(np.prod(shape)) <= min(MEMORY_LIMIT, free_memory() // 4)
    if cache == "none":
        return None
    if cache == "memory" or (cache == "auto" and small):
        return PixelCache(shape)
    base = Path(folder) if folder is not None else user_folder() / "datasets"
    file = base / f"{dataset.content_hash}-{dataset.resolution}x{dataset.channels}.pixels"
    try:
        return PixelCache(shape, file=file)
    except OutputError as error:
        if cache == "disk":
            raise
        log.warning("%s; pictures are decoded each time they are needed", error)
        return None
