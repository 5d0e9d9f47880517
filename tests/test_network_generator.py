"""The generator wrapper over every kind of network: labels, noise, StyleSpace, transforms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from network_fixtures import absolute_error, full_path

from editkit.checkpoints import import_official, weights_id, write_checkpoint
from editkit.checkpoints.convert import convert_official
from editkit.checkpoints.native import halve
from editkit.errors import CheckpointError, LatentError, UsageError
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


def test_a_half_precision_stylegan2_takes_its_parents_latents(stylegan2: NetworkGenerator, tmp_path: Path) -> None:
    header = {"kind": "stylegan2", "arguments": stylegan2.arguments, "parent_id": stylegan2.spec.id}
    write_checkpoint(tmp_path / "half.safetensors", halve(stylegan2.state_dict()), header)
    copy = load_generator(tmp_path / "half.safetensors")
    latent = stylegan2.map(z_from_seeds([0], 32))
    image, wanted = copy.synthesize(latent), stylegan2.synthesize(latent)
    assert 0 < absolute_error(image, wanted) < 0.02 * wanted.abs().max().item()


# StyleGAN-XL and classes -----------------------------------------------------------------------------------------


def test_stylegan_xl_is_a_generator() -> None:
    model = random_generator(kind="stylegan_xl", resolution=16)
    assert (model.spec.kind, model.spec.c_dim, model.w_avg.shape) == ("stylegan_xl", 4, (32,))
    z = z_from_seeds([0, 1], 32)
    third = torch.eye(4)[[2, 2]]
    with use_backend("polyphase"):
        image = model.synthesize(model.map(z, label=third))
        assert image.shape == (2, 3, 16, 16)
        moved = model.synthesize(model.map(z, label=third), transform=Transform.translate(0.25, 0.0))
        assert absolute_error(image, moved) > 1e-3
    dense = third * 3 + torch.rand(2, 4)  # whole classes only
    assert torch.equal(model.map(z, label=dense).tensor, model.map(z, label=third).tensor)
    # without a label: the first class
    assert torch.equal(model.map(z).tensor, model.map(z, label=torch.eye(4)[[0, 0]]).tensor)
    with pytest.raises(LatentError, match=r"labels \[2, 4\], got \[2, 5\]"):
        model.map(z, label=torch.zeros(2, 5))


def test_the_mean_of_stylegan_xl_is_that_of_its_classes() -> None:
    model = random_generator(kind="stylegan_xl", resolution=16)
    means = torch.randn(4, 32)
    model._network.mapping.w_avg.copy_(means)
    assert absolute_error(model.w_avg, means.mean(0)) < 1e-6
    truncated = model.map(z_from_seeds([0], 32), label=torch.eye(4)[[3]], truncation_psi=0.0).tensor
    assert absolute_error(truncated, means[3].expand(1, model.spec.num_ws, -1)) < 1e-6


@pytest.mark.parametrize("name", ["sgxl_stem_32", "sgxl_superres_64"])
def test_official_stylegan_xl_loads(name: str, tmp_path: Path) -> None:
    path = full_path(f"pickles/{name}.pkl")
    model = load_generator(path)
    assert (model.spec.kind, model.spec.c_dim, model.spec.z_dim) == ("stylegan_xl", 6, 16)
    assert model.spec.id == weights_id(import_official(path)["G_ema"].tensors)
    save_generator(model, tmp_path / "g.safetensors")
    again = load_generator(tmp_path / "g.safetensors")
    assert again.spec == model.spec and again.arguments == model.arguments
    with use_backend("polyphase"):
        latent = model.map(z_from_seeds([0], 16), label=torch.eye(6)[[1]])
        image = model.synthesize(latent)
        assert image.shape[-1] == model.spec.resolution and torch.equal(again.synthesize(latent), image)
        styles = model.styles(latent)
        assert len(styles.styles) == model.spec.num_ws and torch.equal(model.synthesize(styles), image)


def test_classes_have_names(tmp_path: Path) -> None:
    source, out = full_path("pickles/sgxl_superres_64.pkl"), tmp_path / "g.safetensors"
    names = ["ant", "bee", "cat", "dog", "emu", "fox"]
    header = convert_official(source, out, class_names=names)
    assert header["class_names"] == names
    model = load_generator(out)
    assert model.spec.class_names == tuple(names)
    save_generator(model, tmp_path / "again.safetensors")
    assert load_generator(tmp_path / "again.safetensors").spec.class_names == tuple(names)
    assert load_generator(source).spec.class_names is None
    with pytest.raises(UsageError, match="has 6 classes, 2 names are given"):
        convert_official(source, out, class_names=names[:2])
    write_checkpoint(out, model.state_dict(), header | {"class_names": names[:2], "id": None})
    with pytest.raises(CheckpointError, match="names 2 classes and has 6"):
        load_generator(out)
