"""The generator wrapper over every kind of network: labels, noise, StyleSpace, transforms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from network_fixtures import absolute_error

from editkit.errors import LatentError, UsageError
from editkit.generator import Generator, NetworkGenerator, load_generator, random_generator, save_generator
from editkit.latent import Latent
from editkit.ops.backends import use_backend
from editkit.seeds import z_from_seeds
from editkit.transform import Transform


@pytest.fixture(scope="module")
def stylegan2() -> NetworkGenerator:
    return random_generator(seed=1, kind="stylegan2")


def test_stylegan2_is_a_generator(stylegan2: NetworkGenerator) -> None:
    assert isinstance(stylegan2, Generator)
    spec = stylegan2.spec
    assert (spec.kind, spec.resolution, spec.num_ws, spec.c_dim) == ("stylegan2", 32, 8, 0)
    latent = stylegan2.map(z_from_seeds([0, 1, 2], 32))
    image = stylegan2.synthesize(latent)
    assert image.shape == (3, 3, 32, 32) and image.dtype == torch.float32 and image.std() > 1e-2
    alone = torch.cat([stylegan2.synthesize(latent[i]) for i in range(3)])
    assert absolute_error(image, alone) <= 4e-6 * image.abs().max().item()
    codes = latent.tensor[:1].clone().requires_grad_()
    free = Latent(space="w+", codes=codes, generator=spec.id)
    (gradient,) = torch.autograd.grad(stylegan2.synthesize(free).square().mean(), codes)
    assert torch.isfinite(gradient).all() and (gradient[0].abs().amax(1) > 0).all()  # every row counts


def test_stylespace_of_stylegan2(stylegan2: NetworkGenerator) -> None:
    latent = stylegan2.map(z_from_seeds([0, 1], 32))
    styles = stylegan2.styles(latent)
    names = ["b4.conv1", "b4.torgb", *(f"b{r}.{part}" for r in (8, 16, 32) for part in ("conv0", "conv1", "torgb"))]
    assert list(styles.styles) == names
    assert torch.equal(stylegan2.synthesize(styles), stylegan2.synthesize(latent))
    changed = {**styles.styles, "b16.torgb": styles.styles["b16.torgb"] + 1}
    image = stylegan2.synthesize(Latent(space="s", codes=changed, generator=latent.generator))
    assert absolute_error(image, stylegan2.synthesize(latent)) > 1e-3
    with pytest.raises(LatentError, match=r"16 channels in 'b16\.torgb', got 0"):
        del changed["b16.torgb"]
        stylegan2.synthesize(Latent(space="s", codes=changed, generator=latent.generator))


def test_noise_modes(stylegan2: NetworkGenerator) -> None:
    latent = stylegan2.map(z_from_seeds([0], 32))
    const = stylegan2.synthesize(latent)
    assert torch.equal(stylegan2.synthesize(latent, noise_mode="const"), const)
    without = stylegan2.synthesize(latent, noise_mode="none")
    first, second = (stylegan2.synthesize(latent, noise_mode="random") for _ in range(2))
    for a, b in ((without, const), (first, const), (first, second)):
        assert absolute_error(a, b) > 1e-2
    with pytest.raises(UsageError, match="no noise mode is called 'fixed'; there are const, random, none"):
        stylegan2.synthesize(latent, noise_mode="fixed")
    stylegan3 = random_generator()  # has none: any mode is the same picture
    latent = stylegan3.map(z_from_seeds([0], 32))
    with use_backend("polyphase"):
        assert torch.equal(stylegan3.synthesize(latent, noise_mode="random"), stylegan3.synthesize(latent))


def test_stylegan2_refuses_to_move(stylegan2: NetworkGenerator) -> None:
    latent = stylegan2.map(z_from_seeds([0, 1], 32))
    still = stylegan2.synthesize(latent, transform=Transform.identity())
    assert torch.equal(still, stylegan2.synthesize(latent))
    learned = Transform.translate(torch.zeros(1, requires_grad=True), torch.zeros(1))
    for transform in (Transform.rotate(1.0), Transform.translate([0.0, 0.1], 0.0), learned):
        with pytest.raises(UsageError, match=r"'random-1' is a StyleGAN2.*leave the transform out"):
            stylegan2.synthesize(latent, transform=transform)


def test_labels_of_a_conditional_stylegan2() -> None:
    conditional = random_generator(kind="stylegan2", c_dim=3)
    z = z_from_seeds([0, 1], 32)
    codes = [conditional.map(z, label=label).tensor for label in (None, torch.zeros(2, 3), torch.eye(3)[:2])]
    assert torch.equal(codes[0], codes[1]) and absolute_error(codes[1], codes[2]) > 1e-3


def test_stylegan2_is_saved_and_loaded(stylegan2: NetworkGenerator, tmp_path: Path) -> None:
    save_generator(stylegan2, tmp_path / "g.safetensors")
    again = load_generator(tmp_path / "g.safetensors")
    assert again.spec == stylegan2.spec and again.arguments == stylegan2.arguments
    latent = stylegan2.map(z_from_seeds([0], 32))
    assert torch.equal(again.synthesize(latent), stylegan2.synthesize(latent))
