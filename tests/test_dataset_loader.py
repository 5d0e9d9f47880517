"""Caches of decoded pictures, and batches with their order, for any number of processes and workers."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_maker import good, write_folder, write_zip

from editkit.errors import OutputError, UsageError
from train.dataset import open_dataset
from train.dataset_cache import PixelCache
from train.dataset_loader import BatchPlaces, ShuffledOrder, load_batches


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_every_cache_gives_the_same_pictures(tmp_path: Path, cache: str) -> None:
    path = write_zip(tmp_path / "d.zip", 5)
    dataset = open_dataset(path, cache=cache, cache_folder=tmp_path / "cache", xflip=True)  # type: ignore[arg-type]
    dataset.fill()
    copy = pickle.loads(pickle.dumps(dataset))
    for index in range(10):
        place = index % 5
        expected = np.asarray(good(place, side=16))
        expected = expected[:, ::-1] if index >= 5 else expected
        assert np.array_equal(dataset[index][0], expected) and np.array_equal(copy[index][0], expected)
    if dataset.cache is not None:
        assert dataset.cache.filled == 5


def test_the_cache_file_is_used_again_and_what_is_damaged_in_it_is_not(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", 3)
    first = open_dataset(path, cache="disk", cache_folder=tmp_path / "cache")
    first.fill()
    again = open_dataset(path, cache="disk", cache_folder=tmp_path / "cache")
    assert again.cache is not None and again.cache.filled == 3
    again.cache.pixels[1, 4, 4, 0] ^= 255  # half-written, as after a crash
    assert again.cache.get(1) is None
    assert np.array_equal(again[1][0], np.asarray(good(1, side=16)))


def test_a_full_disk_leaves_no_cache_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OutputError):
            PixelCache((100, 16, 16, 3), file=tmp_path / "c" / "x.pixels")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["x.lock"]


def test_every_epoch_shows_every_picture_once() -> None:
    order = ShuffledOrder(7, seed=3)
    places = order.at(0, 21).reshape(3, 7)
    assert [sorted(row) for row in places.tolist()] == [list(range(7))] * 3
    assert places[0].tolist() != places[1].tolist()
    assert ShuffledOrder(7, seed=4).at(0, 21).tolist() != places.flatten().tolist()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_stream_does_not_depend_on_ranks_or_on_where_it_was_taken_up(world: int) -> None:
    whole = ShuffledOrder(10, seed=0).at(0, 64).tolist()
    for start in (0, 24):
        ranks = [iter(BatchPlaces(10, batch=8, seed=0, start=start, rank=r, world=world)) for r in range(world)]
        taken = [next(rank) for _ in range(5) for rank in ranks]
        assert list(itertools.chain(*taken)) == whole[start : start + 40]


@pytest.mark.parametrize("options", [{"batch": 3, "world": 2}, {"batch": 4, "rank": 1}, {"batch": 0}])
def test_batches_that_ranks_cannot_divide_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    dataset = open_dataset(write_zip(tmp_path / "d.zip", 2))
    with pytest.raises(UsageError, match="divided evenly"):
        load_batches(dataset, **options)  # type: ignore[arg-type]


def test_batches_resume_exactly_and_workers_change_nothing(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", 5)
    dataset = open_dataset(path, xflip=True)
    through = list(itertools.islice(load_batches(dataset, batch=4, seed=5), 6))
    resumed = next(load_batches(open_dataset(path, xflip=True), batch=4, seed=5, start=20))
    assert torch.equal(resumed.images, through[5].images)
    other = open_dataset(path, xflip=True, cache="disk", cache_folder=tmp_path / "cache")
    decoding = load_batches(other, batch=4, seed=5, workers=2, pin_memory=False)
    by_workers = list(itertools.islice(decoding, 6))
    assert all(torch.equal(a.images, b.images) for a, b in zip(through, by_workers, strict=True))
    assert len(multiprocessing.active_children()) >= 2
    decoding.close()
    assert not multiprocessing.active_children()


def test_processes_of_one_machine_share_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that memory does not keep are decoded by workers: the cores less one, divided among the processes."""
    seen: list[tuple[int, bool]] = []

    def loader(dataset: object, *, num_workers: int, pin_memory: bool, **_: object) -> list[object]:
        seen.append((num_workers, pin_memory))
        return []

    monkeypatch.setattr("torch.utils.data.DataLoader", loader)
    monkeypatch.setattr("train.dataset_loader.usable_cores", lambda: 16)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    dataset = open_dataset(write_folder(tmp_path / "data", 4), cache="none")
    for processes in (None, "4", "64"):
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        if processes:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        load_batches(dataset, batch=4)
    assert seen == [(8, True), (3, True), (1, True)]
