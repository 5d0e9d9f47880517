"""Placement: found together with the latent, kept apart from it, and put back."""

from __future__ import annotations

import math

import pytest
import torch
from blob_generator import BlobGenerator
from torch import Tensor

from editkit.alignment import AlignedPhoto, align
from editkit.edited_picture import render_edited
from editkit.edits import Recipe
from editkit.errors import UsageError
from editkit.generator import NetworkGenerator, random_generator
from editkit.latent import Latent
from editkit.perceptual import best_available
from editkit.photo import Photo
from editkit.rendering import render
from editkit.seeds import z_from_seeds
from editkit.transform import Transform
from projector import Optimise, Pivotal, Placement, pose_search, project
from projector.losses import Weights
from projector.placement import transform_of
from projector.pose_search import APART, HALF, PoseSearch, framed
from projector.statistics import sample_statistics

PIXELS = Weights(perceptual=0.0)
BRIEF = Placement(coarse=1, steps=6)
"""Where it is right does not matter."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discs on a plane need few starts."""
    monkeypatch.setattr(pose_search, "POLISHED", 16)


@pytest.fixture(scope="module")
def G() -> NetworkGenerator:
    return random_generator(resolution=32, alignment="centre", output_scale=0.8)


def as_photo(image: Tensor, G: NetworkGenerator) -> AlignedPhoto:
    return align(Photo(image=image.clamp(-1, 1)), G.spec, convention="centre")


def told(transform: Transform) -> tuple[float, float, float, float]:
    """Shift in image widths, angle in degrees counter-clockwise as seen, and scale, of a similarity."""
    (a, b, x), (_, _, y), _ = transform.tolist()[0]
    return x, y, math.degrees(math.atan2(b, a)), math.hypot(a, b)


def test_four_numbers_are_a_transform_and_have_gradients() -> None:
    placed = torch.tensor([[0.1, -0.2, math.radians(30), math.log(1.5)]], requires_grad=True)
    wanted = Transform.translate(0.1, -0.2) @ Transform.rotate(30) @ Transform.scale(1.5)
    assert torch.allclose(transform_of(placed).matrix.double(), wanted.matrix, atol=1e-6)
    assert told(wanted) == pytest.approx((0.1, -0.2, 30, 1.5))
    transform_of(placed).inverse().matrix.square().sum().backward()
    assert bool((placed.grad != 0).all())


def test_the_gradient_is_the_slope(G: NetworkGenerator) -> None:
    """Through the generator's input transform, against differences."""
    G = random_generator(resolution=16, output_scale=0.8)
    latent = G.map(z_from_seeds([3], G.spec.z_dim))
    goal = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def loss(placed: Tensor) -> Tensor:
        return (G.synthesize(latent, transform=transform_of(placed)) * goal).sum()

    placed = torch.tensor([[0.05, -0.03, 0.1, 0.1]], requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(placed), placed)
    for k in range(4):
        step = torch.zeros(1, 4)
        step[0, k] = 2e-4
        with torch.no_grad():
            slope = (loss(placed + step) - loss(placed - step)) / 4e-4
        assert float(gradient[0, k]) == pytest.approx(float(slope), rel=0.03, abs=0.02)


def test_the_placement_is_apart_from_the_latent(G: NetworkGenerator) -> None:
    image = render(G, G.map(z_from_seeds([5], G.spec.z_dim)), transform=Transform.translate(0.1, 0.0))
    found = project(G, as_photo(image, G), Optimise(steps=10, weights=PIXELS, placement=BRIEF))
    assert torch.equal(render(G, found.latent, transform=found.transform), found.image)
    mean = sample_statistics(G).mean
    assert torch.allclose(found.latent.tensor[0, 0], mean, atol=1e-6), "row 0 moves the picture too"
    assert not torch.allclose(found.latent.tensor[0, 1], mean, atol=2e-4)
    aligned = render(G, found.latent)
    assert not torch.equal(aligned, found.image)
    placed_back = render_edited(G, found.latent, Recipe(name="none", edits=()), transform=found.transform)
    assert torch.equal(placed_back, found.image)
    again = Transform.from_list(found.transform.tolist())  # as latent files keep it
    assert torch.equal(render(G, found.latent, transform=again), found.image)


POSES = [[0.1, 0.05, 20.0, 1.25], [-0.12, 0.08, -24.0, 0.85], [0.0, -0.1, 12.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
"""Widths, degrees, factor."""


def moved(G: BlobGenerator, seed: int, pose: list[float]) -> tuple[Tensor, Tensor]:
    """A sample at a pose, and that as four numbers; row 0, which places the picture too, is where the search has it."""
    x, y, degrees, factor = pose
    placed = torch.tensor([[x, y, math.radians(degrees), math.log(factor)]])
    codes = G.map(z_from_seeds([seed], G.spec.z_dim)).tensor.clone()
    codes[:, 0] = sample_statistics(G).mean
    return render(G, Latent(space="w+", codes=codes, generator=G.spec.id), transform=transform_of(placed)), placed


@pytest.mark.parametrize("pose", POSES)
def test_a_moved_sample_is_recovered(pose: list[float]) -> None:
    """Within half a pixel, a degree and 2 %, through the whole of ``project``."""
    G = BlobGenerator()
    image, _ = moved(G, 5, pose)
    found = project(G, as_photo(image, G), Optimise(steps=10, weights=PIXELS, placement=Placement(coarse=5, starts=5)))
    x, y, degrees, factor = told(found.transform)
    assert math.hypot(x - pose[0], y - pose[1]) * G.spec.resolution < 0.5
    assert abs(degrees - pose[2]) < 1
    assert abs(factor / pose[3] - 1) < 0.02


def test_what_is_beyond_the_frame_does_not_pull() -> None:
    """A small picture amid what the generator has never drawn."""
    G = BlobGenerator()
    image, placed = moved(G, 5, [0.05, 0.0, 8.0, 0.75])
    grown = placed + torch.tensor([0.0, 0.0, 0.0, math.log(0.5 / HALF)])
    within = framed(grown, G.spec.resolution)  # all of its frame
    assert 0.5 < float(within.mean()) < 0.6 and set(within[0, 0, 0].tolist()) == {0.0}
    around = torch.linspace(-0.8, 0.8, G.spec.resolution).expand_as(image).sin()
    (found,), _ = PoseSearch(G, Placement(coarse=5, starts=5)).find(torch.lerp(around, image, within))
    off = (found - placed[0]).tolist()
    assert math.hypot(off[0], off[1]) * G.spec.resolution < 0.5
    assert abs(math.degrees(off[2])) < 1 and abs(math.expm1(off[3])) < 0.02


def test_starts_are_apart_and_one_is_near() -> None:
    G = BlobGenerator()
    placement = Placement(coarse=5, starts=5)
    search = PoseSearch(G, placement)
    image, placed = moved(G, 3, [0.1, 0.05, 12.0, 1.3])
    starts = search.starts(image[0])
    assert 1 < len(starts) <= 5 and not starts[0].any()
    for k in range(1, len(starts)):
        assert bool((((starts[:k] - starts[k]) / torch.tensor(APART)).abs().amax(1) > 1).all())
    assert float(((starts - placed) / torch.tensor(APART)).abs().amax(1).min()) < 1
    assert not PoseSearch(G, Placement(coarse=1)).starts(image[0]).any()


def test_the_search_stays_within_its_limits() -> None:
    G = BlobGenerator()
    image, _ = moved(G, 5, [0.2, 0.0, 0.0, 1.0])
    small = Placement(shift=0.05, angle=2.0, zoom=1.02, coarse=3, trial=2, steps=8)
    (placed,), _ = PoseSearch(G, small).find(image)
    limits = torch.tensor(small.limits)
    assert bool((placed.abs() <= limits + 1e-6).all()) and float(placed[0]) == pytest.approx(0.05, abs=1e-3)


def test_samples_of_a_batch_do_not_interact(G: NetworkGenerator) -> None:
    targets = render(
        G, G.map(z_from_seeds([1, 2], G.spec.z_dim)), transform=Transform.translate([0.1, -0.1], [0.0, 0.1])
    )
    method = Optimise(steps=6, weights=PIXELS, placement=BRIEF)
    both = method.find(G, targets, perceptual=best_available("cpu"))
    assert len(both.transform) == 2
    for k in (0, 1):
        alone = method.find(G, targets[k : k + 1], perceptual=best_available("cpu"))
        assert torch.allclose(alone.transform.matrix[0], both.transform.matrix[k], atol=1e-4)


def test_pivotal_tuning_keeps_the_placement(G: NetworkGenerator) -> None:
    image = render(G, G.map(z_from_seeds([5], G.spec.z_dim)), transform=Transform.rotate(10))
    inner = Optimise(steps=5, weights=PIXELS, placement=BRIEF)
    found = project(G, as_photo(image, G), Pivotal(inner=inner, steps=8, weights=PIXELS))
    before = project(G, as_photo(image, G), inner)
    assert torch.equal(found.transform.matrix, before.transform.matrix)
    assert found.metrics["psnr"] > before.metrics["psnr"]


def test_wrong_use() -> None:
    flat = random_generator(kind="stylegan2", resolution=32)
    with pytest.raises(UsageError, match="fixed grid: no placement can be sought"):
        project(flat, as_photo(torch.zeros(1, 3, 32, 32), flat), Optimise(steps=1, placement=Placement()))
    for options in ({"shift": 0.0}, {"angle": 200.0}, {"zoom": 1.0}, {"coarse": 0}, {"starts": 0}, {"steps": 0}):
        with pytest.raises(UsageError):
            Placement(**options)
