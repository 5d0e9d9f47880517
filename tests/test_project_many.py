"""Many photos at a time: each comes out as if it had been alone, those that are done make room for others."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from project_fixtures import G, checkpoint, make_photo, project, rows
from torch import Tensor

from editkit import memory, search_memory
from editkit.alignment import AlignedPhoto, align
from editkit.errors import MemoryBudgetError, PhotoError, UsageError
from editkit.generator import NetworkGenerator, random_generator
from editkit.photo import Photo
from editkit.seeds import z_from_seeds
from projector import Encode, Optimise, Pivotal, Placement, Refine, Stop, folder_batch, project_many
from projector import project as project_one
from projector.losses import Weights
from projector.methods import Method

PIXELS = Weights(perceptual=0.0)
SMALL = random_generator(resolution=32, alignment="centre", output_scale=0.8)


def faces(count: int) -> list[AlignedPhoto]:
    with torch.no_grad():
        images = SMALL.synthesize(SMALL.map(z_from_seeds(range(count), SMALL.spec.z_dim))).clamp(-1, 1)
    return [align(Photo(image=image[None]), SMALL.spec, convention="centre") for image in images]


def same(first: Tensor, second: Tensor) -> None:
    assert float((first - second).abs().max()) < 2e-3 * float(second.abs().max())


@pytest.mark.parametrize(
    "method",
    [
        Optimise(steps=9, weights=PIXELS),
        Optimise(steps=6, space="w"),
        Optimise(steps=9, space="s", weights=PIXELS),
        Optimise(steps=5, weights=PIXELS, placement=Placement(coarse=1, steps=4)),
        Refine(steps=9, weights=PIXELS),
        Pivotal(inner=Optimise(steps=4, weights=PIXELS), steps=3, weights=PIXELS),
    ],
    ids=lambda method: f"{method.name}-{getattr(method, 'space', '')}",
)
def test_each_comes_out_as_if_alone(method: Method) -> None:
    photos = faces(5)
    found = dict(project_many(SMALL, photos, method, batch=2))
    assert sorted(found) == [0, 1, 2, 3, 4]
    for number, photo in enumerate(photos):
        alone = project_one(SMALL, photo, method)
        many = found[number]
        for name, codes in alone.latent.named_tensors().items():
            same(many.latent.named_tensors()[name], codes)
        same(many.transform.matrix, alone.transform.matrix)
        same(many.image, alone.image)
        assert many.stop is alone.stop and many.method == alone.method
        losses = [step.losses["loss"] for step in many.history]
        assert losses == pytest.approx([step.losses["loss"] for step in alone.history], rel=2e-3)


def test_who_is_done_leaves_and_the_next_enters() -> None:
    """The photos need different numbers of steps; nobody waits for the slowest."""
    read: list[int] = []
    photos = faces(6)

    def lazily():
        for number, photo in enumerate(photos):
            read.append(number)
            yield photo

    method = Optimise(steps=200, patience=3, tolerance=0.12, noise=0.0, noise_ramp=0.0, weights=PIXELS)
    seen: dict[int, int] = {}
    order, lengths = [], {}
    for number, result in project_many(
        SMALL, lazily(), method, batch=2, on_step=lambda number, step: seen.update({number: step.index + 1})
    ):
        order.append(number)
        lengths[number] = len(result.history)
        assert len(read) <= len(order) + 2, "photos are read only as places become free"
        assert result.stop is Stop.CONVERGED
    assert seen == lengths and len(set(lengths.values())) > 1
    for number, photo in enumerate(photos):
        assert len(project_one(SMALL, photo, method).history) == lengths[number]


class _Spoilt:
    """The small generator; the second picture of every three is no number."""

    def __init__(self) -> None:
        self.spec, self.w_avg, self.device, self.map = SMALL.spec, SMALL.w_avg, SMALL.device, SMALL.map
        self.arguments = SMALL.arguments

    def synthesize(self, latent, *, transform=None) -> Tensor:
        image = SMALL.synthesize(latent, transform=transform)
        factors = torch.ones(len(image))
        if len(image) == 3:
            factors[1] = math.nan
        return image * factors[:, None, None, None]


def test_a_photo_that_diverges_harms_no_other() -> None:
    photos, method = faces(3), Optimise(steps=8, weights=PIXELS)
    found = dict(project_many(_Spoilt(), photos, method, batch=3))
    assert found[1].stop is Stop.DIVERGED and found[1].latent.check_finite()
    for number in (0, 2):
        assert found[number].stop is Stop.MAX_STEPS
        same(found[number].latent.tensor, project_one(SMALL, photos[number], method).latent.tensor)


@pytest.mark.parametrize("how", ["false", "ctrl-c"])
def test_stopping_keeps_the_best_of_those_under_way(how: str) -> None:
    def on_step(number: int, step: object) -> bool | None:
        if number == 1 and step.index == 4:  # type: ignore[attr-defined]
            if how == "ctrl-c":
                raise KeyboardInterrupt
            return False
        return None

    found = dict(project_many(SMALL, faces(5), Optimise(steps=50, weights=PIXELS), batch=2, on_step=on_step))
    assert sorted(found) == [0, 1]
    assert all(result.stop is Stop.CANCELLED and len(result.history) == 5 for result in found.values())


def test_a_photo_that_cannot_be_read_is_told_and_left_out(tmp_path: Path) -> None:
    photos = [*faces(2), tmp_path / "missing.png"]
    told: list[tuple[int, type]] = []
    method = Optimise(steps=2, weights=PIXELS)
    found = dict(
        project_many(SMALL, photos, method, batch=3, on_error=lambda number, error: told.append((number, type(error))))
    )
    assert sorted(found) == [0, 1] and told == [(2, PhotoError)]
    with pytest.raises(PhotoError):
        list(project_many(SMALL, photos, method, batch=3))


def test_a_budget_is_of_each_photo() -> None:
    method = Optimise(steps=10**6, budget=0.3, weights=PIXELS)
    for _, result in project_many(SMALL, faces(3), method, batch=2):
        assert result.stop is Stop.BUDGET and 0.3 <= result.seconds < 5


def test_the_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(batch: int) -> int:
        return search_memory.search_memory(SMALL.arguments, batch=batch, perceptual=None)

    free = int((one(5) + 1000) / search_memory.SPARE)
    monkeypatch.setattr(search_memory, "free_memory", lambda device: free)
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    assert search_memory.fitting_batch(SMALL, perceptual=None, most=64) == 5
    assert search_memory.fitting_batch(SMALL, perceptual=None, most=3) == 3
    with pytest.raises(MemoryBudgetError, match="at a time"):
        project_many(SMALL, faces(1), Optimise(weights=PIXELS), batch=4000)
    with pytest.raises(UsageError, match="at least 1 photo"):
        project_many(SMALL, faces(1), batch=0)


def test_mixed_precision_is_for_gpus() -> None:
    for method in (Optimise(mixed_precision=True), Refine(mixed_precision=True)):
        with pytest.raises(UsageError, match="NVIDIA GPUs"):
            project_one(SMALL, faces(1)[0], method)


def test_encoders_look_at_a_batch() -> None:
    from editkit.generator import load_generator

    G = load_generator(device="cpu")
    photos = [align(Photo(image=torch.full((1, 3, 64, 64), v)), G.spec, convention="centre") for v in (-0.5, 0.1, 0.4)]
    found = dict(project_many(G, photos, Encode(iterations=2), batch=2))
    for number, photo in enumerate(photos):
        same(found[number].latent.tensor, project_one(G, photo, Encode(iterations=2)).latent.tensor)


def test_a_folder_in_batches_is_the_folder_one_by_one(project, tmp_path: Path) -> None:
    for number in range(4):
        make_photo(tmp_path / "photos" / f"{number}.png", seed=number)
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    assert project(tmp_path / "photos", "--edit", "none") == 1
    alone = {name: dict(row) for name, row in rows(tmp_path / "out").items()}
    assert project(tmp_path / "photos", "--edit", "none", "--batch", "3", "--force") == 1
    many = {name: dict(row) for name, row in rows(tmp_path / "out").items()}
    assert alone.keys() == many.keys() and many["bad.png"]["status"] == "failed"
    for name, row in many.items():
        assert row["attempts"] == 2 and row["settings"] == alone[name]["settings"]
        assert row["psnr"] == pytest.approx(alone[name]["psnr"], abs=0.05)
        assert row["status"] == "failed" or (tmp_path / "out" / row["folder"] / "edited.png").is_file()
    assert project(tmp_path / "photos", "--edit", "none", "--batch", "auto") == 1
    assert all(row["attempts"] == 2 for row in rows(tmp_path / "out").values()), "nothing is done twice"


def test_a_batch_that_breaks_goes_on_one_by_one(project, tmp_path: Path, monkeypatch, caplog) -> None:
    for number in range(4):
        make_photo(tmp_path / "photos" / f"{number}.png", seed=number)

    def breaking(G, photos, method, **options):
        yield from project_many(G, [next(photos)], method, **options)
        next(photos)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(folder_batch, "project_many", breaking)
    assert project(tmp_path / "photos", "--edit", "none", "--batch", "2") == 0
    assert "going on one photo at a time" in caplog.text
    assert all(row["status"] == "done" and row["attempts"] == 1 for row in rows(tmp_path / "out").values())


def test_ctrl_c_in_a_batch_leaves_nothing_half(project, tmp_path: Path, monkeypatch) -> None:
    for number in range(4):
        make_photo(tmp_path / "photos" / f"{number}.png", seed=number)
    steps = iter(range(100))

    def pressing(self, step: object) -> None:
        if next(steps) == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("projector.cli._Screen.step", pressing)
        assert project(tmp_path / "photos", "--edit", "none", "--batch", "2") == 130
    states = [row["status"] for row in rows(tmp_path / "out").values()]
    assert states.count("done") == 2 and states.count("pending") == 2
    assert not list((tmp_path / "out").glob(".*.part"))
    assert project(tmp_path / "photos", "--edit", "none", "--batch", "2") == 0
    assert all(row["status"] == "done" for row in rows(tmp_path / "out").values())


@pytest.mark.parametrize("options", [("--batch", "0"), ("--batch", "many"), ("--batch", "2", "--engine", "ray")])
def test_wrong_batches_are_wrong_use(project, tmp_path: Path, options: tuple[str, ...]) -> None:
    make_photo(tmp_path / "photos" / "a.png")
    try:
        code = project(tmp_path / "photos", *options)
    except SystemExit as ended:  # argparse
        code = ended.code
    assert code == 2
