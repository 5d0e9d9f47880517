"""The search in S: a code in W+ first, then the styles of every layer on their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from linear_generator import LinearGenerator
from torch import Tensor

from editkit.alignment import AlignedPhoto, align
from editkit.direction import Direction
from editkit.edits import Edit, apply_edits
from editkit.errors import LatentError, UsageError
from editkit.generator import NetworkGenerator, random_generator
from editkit.latent import Latent
from editkit.latent_file import read_latent
from editkit.photo import Photo
from editkit.rendering import render
from editkit.seeds import normal, z_from_seeds
from projector import Locality, Optimise, Pivotal, project
from projector.losses import Weights

PIXELS = Weights(perceptual=0.0)


@pytest.fixture(scope="module", params=["stylegan3", "stylegan2"])
def G(request: pytest.FixtureRequest) -> NetworkGenerator:
    options = {"output_scale": 0.8} if request.param == "stylegan3" else {}
    return random_generator(kind=request.param, resolution=32, **options)


def as_photo(image: Tensor, G: NetworkGenerator) -> AlignedPhoto:
    return align(Photo(image=image.clamp(-1, 1)), G.spec, convention="centre")


def beyond_w_plus(G: NetworkGenerator) -> Tensor:
    """A picture of styles that no code in W+ has."""
    codes = G.styles(G.map(z_from_seeds([2], G.spec.z_dim)))
    moved = {
        name: style if name == "input" else style + 0.5 * normal(index, tuple(style.shape))
        for index, (name, style) in enumerate(codes.styles.items())
    }
    with torch.no_grad():
        return G.synthesize(Latent(space="s", codes=moved, generator=G.spec.id))


def test_styles_reach_what_rows_do_not(G: NetworkGenerator, tmp_path: Path) -> None:
    """With as many steps for W+ alone, and every regulariser off but those of W+."""
    face = as_photo(beyond_w_plus(G), G)
    rows = project(G, face, Optimise(steps=60, weights=PIXELS))
    found = project(G, face, Optimise(steps=100, space="s", weights=PIXELS))
    assert found.latent.space == "s" and found.metrics["psnr"] > rows.metrics["psnr"] + 0.5
    losses = [step.losses for step in found.history]
    assert losses[59]["styles"] == 0 < losses[-1]["styles"]
    found.latent.save(tmp_path / "latent.safetensors", transform=found.transform)
    again = read_latent(tmp_path / "latent.safetensors").latent
    assert torch.equal(render(G, again, transform=found.transform), found.image)


def test_the_regulariser_keeps_styles_near(G: NetworkGenerator) -> None:
    face = as_photo(beyond_w_plus(G), G)

    def moved(weight: float) -> float:
        weights = Weights(perceptual=0.0, styles=weight)
        return project(G, face, Optimise(steps=40, space="s", weights=weights, patience=0)).history[-1].losses["pixel"]

    assert moved(0.0) < moved(100.0)


def test_a_latent_in_s_takes_edits_in_w(G: NetworkGenerator) -> None:
    latent = G.map(z_from_seeds([4], G.spec.z_dim)).as_w_plus()
    direction = Direction(name="any", vector=normal(9, (G.spec.w_dim,)), space="w", generator=G.spec.id)
    for layers in (None, [1, 2]):
        edit = Edit(direction, 0.7, layers=layers)
        through = apply_edits(G.styles(latent), edit, generator=G)
        wanted = G.styles(apply_edits(latent, edit))
        assert through.space == "s"
        for name, style in wanted.styles.items():
            assert torch.allclose(through.styles[name], style, atol=1e-4)
    still = apply_edits(G.styles(latent), Edit(direction, 0.0), generator=G)
    assert all(torch.equal(still.styles[name], style) for name, style in G.styles(latent).styles.items())
    with pytest.raises(LatentError, match="say whose styles"):
        apply_edits(G.styles(latent), Edit(direction, 1.0))


def test_wrong_use() -> None:
    with pytest.raises(UsageError, match="locality compares codes in W"):
        Pivotal(inner=Optimise(space="s"), locality=Locality())
    with pytest.raises(UsageError, match="has no StyleSpace"):
        Optimise(space="s").lanes(LinearGenerator(), perceptual=None)  # type: ignore[arg-type]
    for options in ({"space": "z"}, {"refine_from": 0.0}, {"refine_from": 1.0}, {"style_lr": 0.0}):
        with pytest.raises(UsageError):
            Optimise(**options)
