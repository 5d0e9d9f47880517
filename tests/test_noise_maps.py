"""Noise maps of StyleGAN2: fitted with the code, kept in the latent and its file, rendered back exactly."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from editkit.alignment import AlignedPhoto, align
from editkit.direction import Direction
from editkit.edits import Edit, apply_edits
from editkit.errors import LatentError, SchemaError, UsageError
from editkit.generator import NetworkGenerator, random_generator
from editkit.latent import Latent, concatenate
from editkit.latent_file import read_latent
from editkit.photo import Photo
from editkit.rendering import render
from editkit.seeds import z_from_seeds
from editkit.tensorfile import read_tensors
from projector import NoiseMaps, Optimise, project
from projector.losses import Weights
from projector.noise_maps import normalised, structure

PIXELS = Weights(perceptual=0.0)


@pytest.fixture(scope="module")
def G() -> NetworkGenerator:
    return random_generator(kind="stylegan2", resolution=32)


def with_maps(G: NetworkGenerator, seed: int, count: int = 1) -> Latent:
    random = torch.Generator().manual_seed(seed)
    maps = {name: torch.randn(count, *m.shape, generator=random) for name, m in G.noise_maps.items()}
    codes = G.map(z_from_seeds(range(seed, seed + count), G.spec.z_dim)).tensor
    return Latent(space="w+", codes=codes, generator=G.spec.id, noise=maps)


def as_photo(image: Tensor, G: NetworkGenerator) -> AlignedPhoto:
    return align(Photo(image=image.clamp(-1, 1)), G.spec, convention="centre")


def test_a_latent_with_the_stored_maps_is_the_picture_without(G: NetworkGenerator) -> None:
    assert {name: maps.shape[-1] for name, maps in G.noise_maps.items()} == {
        "b4.conv1": 4, "b8.conv0": 8, "b8.conv1": 8, "b16.conv0": 16, "b16.conv1": 16, "b32.conv0": 32, "b32.conv1": 32
    }  # fmt: skip
    plain = G.map(z_from_seeds([1], G.spec.z_dim)).as_w_plus()
    stored = Latent(
        space="w+", codes=plain.tensor, generator=G.spec.id, noise={n: m[None] for n, m in G.noise_maps.items()}
    )
    assert torch.equal(G.synthesize(stored), G.synthesize(plain))
    other = with_maps(G, 1)
    assert not torch.equal(G.synthesize(other), G.synthesize(plain))
    assert torch.equal(G.synthesize(other, noise_mode="none"), G.synthesize(plain, noise_mode="none"))
    assert torch.allclose(G.synthesize(G.styles(other)), G.synthesize(other), atol=1e-5)
    both = concatenate([other, with_maps(G, 2)])
    for k in (0, 1):
        assert torch.allclose(G.synthesize(both)[k], G.synthesize(both[k])[0], atol=1e-5)


def test_edits_paths_and_files_keep_the_maps(G: NetworkGenerator, tmp_path: Path) -> None:
    latent, plain = with_maps(G, 1), G.map(z_from_seeds([3], G.spec.z_dim)).as_w_plus()
    direction = Direction(name="any", vector=torch.ones(G.spec.w_dim), space="w", generator=G.spec.id)
    edited = apply_edits(latent, Edit(direction, 1.0))
    assert all(torch.equal(edited.noise[name], maps) for name, maps in latent.noise.items())
    for first, second in ((latent, plain), (plain, latent)):
        half = first.lerp(second, 0.5)
        assert all(torch.allclose(half.noise[name], maps) for name, maps in latent.noise.items())
    latent.save(tmp_path / "with.safetensors")
    plain.save(tmp_path / "without.safetensors")
    loaded = read_latent(tmp_path / "with.safetensors").latent
    assert torch.equal(G.synthesize(loaded), G.synthesize(latent))
    with pytest.raises(SchemaError, match="schema 2 is newer than 1"):  # an older editkit would leave them out unseen
        read_tensors(tmp_path / "with.safetensors", kind="latent", schema=1, error=LatentError)
    assert read_tensors(tmp_path / "without.safetensors", kind="latent", schema=1, error=LatentError)[1]["schema"] == 1


def test_maps_that_do_not_fit_are_refused(G: NetworkGenerator) -> None:
    latent = with_maps(G, 1)
    one = {"b4.conv1": torch.zeros(1, 4, 4)}
    for noise in ({}, {"b4.conv1": torch.zeros(4, 4)}, {"b4.conv1": torch.zeros(2, 4, 4)}):
        with pytest.raises(LatentError, match="noise maps"):
            Latent(space="w+", codes=latent.tensor, generator=G.spec.id, noise=noise)
    with pytest.raises(LatentError, match="are not those of"):
        G.synthesize(Latent(space="w+", codes=latent.tensor, generator=G.spec.id, noise=one))
    three = random_generator(resolution=32)
    codes = three.map(z_from_seeds([1], three.spec.z_dim)).tensor
    with pytest.raises(LatentError, match="which has none"):
        three.synthesize(Latent(space="w+", codes=codes, generator=three.spec.id, noise=one))
    with pytest.raises(UsageError, match="no noise maps to fit"):
        project(three, as_photo(torch.zeros(1, 3, 32, 32), three), Optimise(steps=1, noise_maps=NoiseMaps()))
    for options in ({"weight": -1.0}, {"weight": math.nan}, {"lr": 0.0}):
        with pytest.raises(UsageError):
            NoiseMaps(**options)


def test_structure_is_what_noise_has_not() -> None:
    noise = normalised(torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert float(noise.mean()) == pytest.approx(0, abs=1e-6) and float(noise.square().mean()) == pytest.approx(1)
    x = torch.linspace(0, 2 * math.pi, 65)[:64]
    wave = normalised((x.sin()[:, None] * x.cos()[None])[None])
    assert float(structure({"a": noise})) < 0.1 < 1 < float(structure({"a": wave}))
    both = structure({"a": torch.cat([noise, wave])})
    assert torch.allclose(both, torch.cat([structure({"a": noise}), structure({"a": wave})]))


def test_fitted_maps_come_closer_and_stay_noise(G: NetworkGenerator, tmp_path: Path) -> None:
    """A picture made with maps of its own: without them the search cannot reach it."""
    wanted = render(G, with_maps(G, 7))
    plain = project(G, as_photo(wanted, G), Optimise(steps=60, weights=PIXELS))
    found = project(G, as_photo(wanted, G), Optimise(steps=60, weights=PIXELS, noise_maps=NoiseMaps()))
    assert found.metrics["psnr"] > plain.metrics["psnr"] + 1
    for maps in found.latent.noise.values():
        assert torch.allclose(maps.mean([1, 2]), torch.zeros(1), atol=1e-5)
        assert torch.allclose(maps.square().mean([1, 2]), torch.ones(1), atol=1e-4)
    kept = project(G, as_photo(wanted, G), Optimise(steps=60, weights=PIXELS, noise_maps=NoiseMaps(weight=0.0)))
    assert float(structure(found.latent.noise)) < 0.1 < float(structure(kept.latent.noise))
    found.latent.save(tmp_path / "latent.safetensors", transform=found.transform)
    again = read_latent(tmp_path / "latent.safetensors")
    assert torch.equal(render(G, again.latent, transform=again.transform), found.image)
