"""Edits in StyleSpace: after those in w, through the generator's styles, with truncation, transforms and recipes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from linear_generator import LinearGenerator

from editkit import cli
from editkit.direction import Direction
from editkit.edited_picture import render_edited
from editkit.edits import Edit, Recipe, apply_edits, as_styles
from editkit.errors import GeneratorMismatchError, LatentError
from editkit.generator import random_generator, save_generator
from editkit.photo import read_photo
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.seeds import normal
from editkit.transform import Transform
from projector.job import _keeps_every_bit

KINDS = ("stylegan3", "stylegan2", "stylegan_xl")


def pair(G):
    """A direction in w and one in s, of the second layer."""
    layer, width = list(as_styles(sample_w(G, [0]), G).styles.items())[1]
    options = {"generator": G.spec.id}
    in_w = Direction(name="a", vector=0.3 * normal(1, (G.spec.w_dim,)), space="w", **options)
    return in_w, Direction(name="b", vector={layer: normal(2, (width.shape[1],))}, space="s", **options)


@pytest.mark.parametrize("kind", KINDS)
def test_w_comes_first_then_s(kind):
    G = random_generator(seed=1, kind=kind, resolution=16)
    w = sample_w(G, [0, 1], truncation_psi=0.7)
    in_w, in_s = pair(G)
    edited = apply_edits(w, [Edit(in_s, 2.0), Edit(in_w, 1.0)], generator=G)  # the order of the list does not matter
    expected = dict(G.styles(apply_edits(w, Edit(in_w, 1.0))).styles)
    layer = next(iter(in_s.vector))
    expected[layer] = expected[layer] + 2.0 * in_s.vector[layer]
    assert edited.space == "s" and edited.check(G.spec)
    assert all(torch.equal(edited.styles[name], codes) for name, codes in expected.items())
    assert not torch.allclose(render(G, edited), render(G, apply_edits(w, Edit(in_w, 1.0))), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_strength_in_s_gives_the_same_picture(kind):
    G = random_generator(seed=1, kind=kind, resolution=16)
    w = sample_w(G, [3])
    recipe = Recipe(name="none", edits=[Edit(pair(G)[1], 0.0)])
    assert torch.equal(render_edited(G, w, recipe), render(G, w))
    styles = as_styles(w, G)
    again = apply_edits(styles, recipe, generator=G)
    assert all(again.styles[name] is codes for name, codes in styles.styles.items())


@pytest.mark.parametrize("space", ["w", "s"])
def test_a_projection_knows_that_a_zero_edit_in_s_changed_nothing(space):
    G = random_generator(seed=1, resolution=16)
    latent, (in_w, in_s) = sample_w(G, [3]), pair(G)
    latent = as_styles(latent, G) if space == "s" else latent
    edits = [Edit(in_s, 2.0)] if space == "s" else [Edit(in_w, 1.0), Edit(in_s, 2.0)]
    assert _keeps_every_bit(Recipe(name="r", edits=edits), latent, G)


def test_a_transform_moves_an_edited_picture():
    G = random_generator(seed=1, resolution=16)
    recipe = Recipe(name="r", edits=[Edit(pair(G)[1], 1.0)], transform=Transform.rotate(90))
    turned = render_edited(G, sample_w(G, [0]), recipe)
    edited = apply_edits(sample_w(G, [0]), recipe, generator=G)
    assert torch.equal(turned, render(G, edited, transform=Transform.rotate(90)))
    assert not torch.allclose(turned, render(G, edited), atol=1e-4)


def test_gradients_reach_w_through_an_edit_in_s():
    G = random_generator(seed=1, resolution=16)
    w = sample_w(G, [0])
    codes = w.tensor.clone().requires_grad_()
    edited = apply_edits(replace(w, codes=codes), Edit(pair(G)[1], 1.0), generator=G)
    (gradient,) = torch.autograd.grad(G.synthesize(edited).square().mean(), codes)
    assert (
        torch.isfinite(gradient).all() and (gradient[0, 1:].abs().amax(1) > 0).all()
    )  # an untrained placement is constant


def test_truncation_in_s_is_that_in_w():
    G = random_generator(seed=1, resolution=16)
    w = sample_w(G, [0, 1])
    centre = G.styles(replace(w, codes=G.w_avg.expand(1, G.spec.num_ws, -1)))
    there = G.styles(w).truncate(centre.styles, 0.6).styles
    for name, codes in G.styles(w.truncate(G.w_avg, 0.6)).styles.items():
        assert torch.allclose(there[name], codes, atol=1e-5)
    same = G.styles(w).truncate(centre.styles, 1.0).styles
    assert all(torch.equal(same[name], codes) for name, codes in G.styles(w).styles.items())
    with pytest.raises(LatentError, match="same layers"):
        G.styles(w).truncate({"input": centre.styles["input"]}, 0.6)
    with pytest.raises(LatentError, match="no cutoff"):
        G.styles(w).truncate(centre.styles, 0.6, cutoff=1)
    with pytest.raises(LatentError, match="got a mapping"):
        w.truncate(centre.styles, 0.6)
    with pytest.raises(LatentError, match="w or w"):
        G.styles(w).truncate(G.w_avg, 0.6)


def test_what_does_not_go_together():
    G = random_generator(seed=1, resolution=16)
    w, (in_w, in_s) = sample_w(G, [0]), pair(G)
    with pytest.raises(LatentError, match=r"generator=G"):
        apply_edits(w, Edit(in_s, 1.0))
    with pytest.raises(LatentError, match="is in w and cannot be added to a latent in s"):
        apply_edits(as_styles(w, G), Edit(in_w, 1.0))
    other = random_generator(seed=2, resolution=16)
    with pytest.raises(GeneratorMismatchError):
        apply_edits(w, Edit(in_s, 1.0), generator=other)
    with pytest.raises(GeneratorMismatchError):
        as_styles(as_styles(w, G), other)
    plain = LinearGenerator()
    nothing = Direction(name="b", vector={"L0": torch.ones(3)}, space="s", generator=plain.spec.id)
    with pytest.raises(LatentError, match="'linear' has no StyleSpace"):
        apply_edits(sample_w(plain, [0]), Edit(nothing, 1.0), generator=plain)


@pytest.mark.parametrize("space", ["w", "s"])
def test_the_command_edits_along_s(space, tmp_path, capsys):
    save_generator(random_generator(seed=1, resolution=16), tmp_path / "g.safetensors")
    from editkit.generator import load_generator

    G = load_generator(tmp_path / "g.safetensors", device="cpu")
    latent, (in_w, in_s) = sample_w(G, [0]), pair(G)
    (as_styles(latent, G) if space == "s" else latent).save(tmp_path / "latent.safetensors")
    edits = [Edit(in_s, 3.0)] if space == "s" else [Edit(in_s, 3.0), Edit(in_w, 1.0)]
    recipe = Recipe(name="r", edits=edits)
    recipe.save(tmp_path / "r.json")
    code = cli.main(
        ["edit", *map(str, [tmp_path / "latent.safetensors", "--generator", tmp_path / "g.safetensors"]),
         "--device", "cpu", "--recipe", str(tmp_path / "r.json"), "--out", str(tmp_path / "e.png")]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    written = read_photo(tmp_path / "e.png").image
    assert (written - render_edited(G, latent, Recipe(name="r", edits=edits)).clamp(-1, 1)).abs().max() < 1.01 / 127.5
