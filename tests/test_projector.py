"""Projection: what a search promises, whatever the generator; on small random networks."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from editkit.alignment import AlignedPhoto, align
from editkit.direction import Direction
from editkit.edits import Edit, Recipe, apply_edits
from editkit.errors import GeneratorMismatchError, PhotoError, UsageError
from editkit.generator import DEFAULT, MODELS, NetworkGenerator, load_generator, random_generator
from editkit.latent import Latent
from editkit.photo import Photo, image_to_uint8, psnr, write_image
from editkit.rendering import render
from editkit.seeds import z_from_seeds
from projector import Optimise, Step, Stop, driving, project
from projector.losses import Weights, multiscale_mse
from projector.statistics import sample_statistics

PIXELS = Weights(perceptual=0.0)
"""Pixels only: quick, and enough for what is tested here."""


@pytest.fixture(scope="module")
def G() -> NetworkGenerator:
    # output_scale: the default network's pictures are so pale that any two of them are 30 dB apart.
    return random_generator(resolution=32, alignment="centre", output_scale=0.8)


def sample(G: NetworkGenerator, seed: int) -> Tensor:
    with torch.no_grad():
        return G.synthesize(G.map(z_from_seeds([seed], G.spec.z_dim))).clamp(-1, 1)


def as_photo(image: Tensor, G: NetworkGenerator) -> AlignedPhoto:
    return align(Photo(image=image), G.spec, convention="centre")


def mean_of(G: NetworkGenerator) -> Latent:
    return Latent(space="w", codes=G.w_avg.expand(1, G.spec.num_ws, -1), generator=G.spec.id)


class Wrapped:
    """A generator whose pictures go through ``change(image, call)``."""

    def __init__(self, G: NetworkGenerator, change) -> None:
        self._G, self._change, self.calls = G, change, 0
        self.spec, self.w_avg, self.device, self.map = G.spec, G.w_avg, G.device, G.map

    def synthesize(self, latent: Latent, *, transform=None) -> Tensor:
        self.calls += 1
        return self._change(self._G.synthesize(latent, transform=transform), self.calls)


@pytest.mark.parametrize(("space", "seed"), [("w", 4), ("w", 1), ("w+", 1)])
def test_a_sample_of_the_generator_is_recovered(G: NetworkGenerator, space: str, seed: int) -> None:
    wanted = sample(G, seed)
    assert float(psnr(render(G, mean_of(G)), wanted)) < 22, (
        "the start is near the answer already: this would prove nothing"
    )
    found = project(G, as_photo(wanted, G), Optimise(steps=200, space=space, weights=PIXELS))
    assert found.metrics["psnr"] > 30
    assert found.latent.space == space and len(found.latent) == 1
    assert found.latent.check(G.spec) is found.latent and found.latent.check_finite() is found.latent


def test_the_search_starts_from_the_class_it_is_given() -> None:
    G = random_generator(resolution=32, c_dim=3, output_scale=0.8)
    face = as_photo(torch.zeros(1, 3, 32, 32), G)
    still = Optimise(steps=1, space="w", weights=PIXELS, noise=0.0)
    for classes in (1, None):
        found = project(G, face, still, classes=classes)
        start = sample_statistics(G, classes=classes).mean
        assert torch.allclose(found.latent.tensor[0, 0], start, atol=1e-5)
        assert found.method.get("classes") == classes
    assert not torch.allclose(start, sample_statistics(G, classes=1).mean, atol=1e-3)
    with pytest.raises(UsageError, match="classes 0 to 2, got 3"):
        project(G, face, still, classes=3)


@pytest.mark.skipif(not (MODELS / f"{DEFAULT}.safetensors").is_file(), reason="the generator is not bundled yet")
def test_a_sample_of_the_bundled_generator_is_recovered() -> None:
    G = load_generator(device="cpu")
    found = project(G, as_photo(sample(G, 1), G), Optimise(steps=200))
    assert found.metrics["psnr"] > 30


def test_the_result_is_what_its_latent_renders(G: NetworkGenerator, tmp_path: Path) -> None:
    wanted = sample(G, 2)
    found = project(G, as_photo(wanted, G), Optimise(steps=8))
    assert torch.equal(render(G, found.latent, transform=found.transform), found.image)
    assert found.metrics["psnr"] == pytest.approx(float(psnr(found.image, wanted)))
    assert set(found.metrics) == {"psnr", "ssim", "mse", "perceptual"} and found.perceptual
    found.latent.save(tmp_path / "latent.safetensors", transform=found.transform)
    loaded = Latent.load(tmp_path / "latent.safetensors")
    assert torch.equal(loaded.tensor, found.latent.tensor)
    with pytest.raises(GeneratorMismatchError, match="made for generator"):
        render(random_generator(seed=1, resolution=32), loaded)


def test_a_zero_edit_is_the_identity(G: NetworkGenerator) -> None:
    found = project(G, as_photo(sample(G, 2), G), Optimise(steps=3, weights=PIXELS))
    direction = Direction(name="any", vector=torch.randn(G.spec.w_dim), space="w", generator=G.spec.id)
    for strength, same in ((0.0, True), (2.0, False)):
        edited = apply_edits(found.latent, Recipe(name="r", edits=(Edit(direction, strength),)))
        assert torch.equal(render(G, edited), found.image) is same


def test_the_same_seed_gives_the_same_result_and_another_does_not(G: NetworkGenerator) -> None:
    face = as_photo(sample(G, 3), G)
    first, again, other = (project(G, face, Optimise(steps=6, weights=PIXELS), seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.latent.tensor, again.latent.tensor)
    assert [step.losses for step in first.history] == [step.losses for step in again.history]
    assert not torch.equal(first.latent.tensor, other.latent.tensor)


def test_the_best_step_is_kept(G: NetworkGenerator) -> None:
    """A learning rate far too high makes the last step worse than the best."""
    wanted = sample(G, 4)
    bare = Weights(perceptual=0, prior=0, spread=0)
    found = project(G, as_photo(wanted, G), Optimise(steps=40, lr=3.0, noise=0.0, weights=bare))
    losses = [step.losses["loss"] for step in found.history]
    assert min(losses) < losses[-1]
    kept = bare.pixel * multiscale_mse(found.image, wanted, scales=bare.scales)
    assert float(kept) == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize("stop_by", ["false", "ctrl-c"])
def test_stopping_keeps_the_best_so_far(G: NetworkGenerator, stop_by: str) -> None:
    seen: list[Step] = []

    def on_step(step: Step) -> bool | None:
        seen.append(step)
        if len(seen) < 5:
            return None
        if stop_by == "ctrl-c":
            raise KeyboardInterrupt
        return False

    found = project(G, as_photo(sample(G, 3), G), Optimise(steps=1000, weights=PIXELS), on_step=on_step)
    assert found.stop is Stop.CANCELLED
    assert [step.index for step in found.history] == [0, 1, 2, 3, 4]
    assert seen == list(found.history) and seen[0].total == 1000
    assert found.metrics["psnr"] > float(psnr(render(G, mean_of(G)), sample(G, 3))) - 1


def test_only_false_stops(G: NetworkGenerator) -> None:
    found = project(G, as_photo(sample(G, 3), G), Optimise(steps=3, weights=PIXELS), on_step=lambda step: 0)
    assert found.stop is Stop.MAX_STEPS and len(found.history) == 3


def test_the_budget_ends_the_search(G: NetworkGenerator) -> None:
    found = project(G, as_photo(sample(G, 3), G), Optimise(steps=10**6, budget=1.0, weights=PIXELS))
    assert found.stop is Stop.BUDGET
    assert found.history and 1.0 <= found.seconds < 10
    assert found.history[-1].progress > 0.3  # the ramps follow the time


def test_the_budget_counts_from_the_end_of_the_first_step(G: NetworkGenerator, monkeypatch) -> None:
    """The first step compiles and takes ten seconds here, every other one."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(driving, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def slow(image: Tensor, call: int) -> Tensor:
        clock.now += 10.0 if call == 1 else 1.0
        return image

    method = Optimise(steps=10**6, budget=3.0, weights=PIXELS)
    found = project(Wrapped(G, slow), as_photo(sample(G, 3), G), method)
    assert found.stop is Stop.BUDGET and len(found.history) == 4 and found.seconds == 13.0
    assert [step.progress for step in found.history] == pytest.approx([0, 0, 1 / 3, 2 / 3], abs=1e-5)


def test_ctrl_c_while_the_result_is_measured_keeps_it(G: NetworkGenerator) -> None:
    def pressed(image: Tensor, call: int) -> Tensor:
        if call == 4:  # three steps, then the picture of what was found
            raise KeyboardInterrupt
        return image

    method = Optimise(steps=3, weights=PIXELS)
    found = project(Wrapped(G, pressed), as_photo(sample(G, 3), G), method)
    same = project(G, as_photo(sample(G, 3), G), method)
    assert found.stop is Stop.CANCELLED and same.stop is Stop.MAX_STEPS
    assert torch.equal(found.latent.tensor, same.latent.tensor) and found.metrics == same.metrics


def test_no_improvement_is_convergence(G: NetworkGenerator) -> None:
    method = Optimise(steps=400, patience=7, tolerance=0.99, noise=0.0, noise_ramp=0.0, weights=PIXELS)
    found = project(G, as_photo(sample(G, 3), G), method)
    assert found.stop is Stop.CONVERGED
    assert 7 <= len(found.history) < 100
    never = project(G, as_photo(sample(G, 3), G), Optimise(steps=30, patience=0, tolerance=0.99, weights=PIXELS))
    assert never.stop is Stop.MAX_STEPS


def test_a_loss_that_is_not_a_number_once_is_survived(G: NetworkGenerator) -> None:
    broken = Wrapped(G, lambda image, call: image * math.nan if call == 4 else image)
    found = project(broken, as_photo(sample(G, 3), G), Optimise(steps=12, weights=PIXELS))
    assert found.stop is Stop.MAX_STEPS
    assert math.isfinite(found.metrics["psnr"]) and found.latent.check_finite()
    assert sum(math.isnan(step.losses["loss"]) for step in found.history) == 1


def test_a_loss_that_is_never_a_number_again_diverges_and_the_best_is_kept(G: NetworkGenerator) -> None:
    broken = Wrapped(G, lambda image, call: image * math.nan if call > 4 and image.requires_grad else image)
    found = project(broken, as_photo(sample(G, 3), G), Optimise(steps=100, weights=PIXELS))
    assert found.stop is Stop.DIVERGED
    assert len(found.history) < 20
    assert math.isfinite(found.metrics["psnr"]) and found.latent.check_finite()


def test_a_generator_of_nothing_but_nan_diverges(G: NetworkGenerator) -> None:
    found = project(Wrapped(G, lambda image, call: image * math.nan), as_photo(sample(G, 3), G), Optimise(steps=50))
    assert found.stop is Stop.DIVERGED
    assert all(math.isnan(value) for value in found.metrics.values())


@pytest.mark.parametrize("stop", list(Stop))
def test_every_stop_says_what_to_try_next(stop: Stop) -> None:
    assert len(stop.advice.split()) > 4
    assert len({other.advice for other in Stop}) == len(Stop)


def test_a_photo_and_a_path_are_aligned_first(G: NetworkGenerator, tmp_path: Path) -> None:
    wide = torch.nn.functional.pad(sample(G, 3), (8, 8, 0, 0))
    write_image(tmp_path / "wide.png", wide)
    method = Optimise(steps=2, weights=PIXELS)
    by_path, by_photo = project(G, tmp_path / "wide.png", method), project(G, Photo(image=wide), method)
    assert psnr(by_path.image, by_photo.image) > 40  # but for the rounding of the file
    assert image_to_uint8(by_path.image).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("photo", "error"),
    [("missing.png", PhotoError), (torch.zeros(1, 3, 32, 32), PhotoError), (None, PhotoError)],
)
def test_what_is_no_photo_is_refused(G: NetworkGenerator, photo: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        project(G, photo, Optimise(steps=1))  # type: ignore[arg-type]


def test_a_crop_of_another_size_is_refused(G: NetworkGenerator) -> None:
    with pytest.raises(PhotoError, match="crops of 32 px"):
        project(G, align(Photo(image=torch.zeros(1, 3, 64, 64)), 48, convention="centre"), Optimise(steps=1))


def test_a_generator_of_pictures_with_alpha_is_refused() -> None:
    clear = random_generator(resolution=32, img_channels=4)
    with pytest.raises(UsageError, match="4 channels"):
        project(clear, Photo(image=torch.zeros(1, 3, 64, 64)), Optimise(steps=1))


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"space": "z"}, {"lr": 0.0}, {"lr": math.nan}, {"lr": math.inf}, {"budget": 0.0}, {"budget": -1.0}],
)
def test_settings_out_of_range_are_wrong_use(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Optimise(**settings)  # type: ignore[arg-type]


def test_a_misspelt_setting_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        Optimise(step=3)  # type: ignore[call-arg]


def test_statistics_have_the_spread_of_w(G: NetworkGenerator) -> None:
    statistics = sample_statistics(G, floor=0.0)
    w = G.map(z_from_seeds(range(2000), G.spec.z_dim)).tensor[:, 0]
    coordinates = statistics.deviations(w - statistics.mean)
    assert torch.allclose(statistics.mean + coordinates @ statistics.axes, w, atol=1e-4)
    assert torch.allclose(coordinates.mean(0), torch.zeros(G.spec.w_dim), atol=0.15)
    assert torch.allclose(coordinates.std(0), torch.ones(G.spec.w_dim), atol=0.15)
