"""Rendering is independent of the batch size, keeps no gradients and refuses what does not fit."""

import pytest
import torch
from linear_generator import LinearGenerator

from editkit.direction import PLACEMENT_LAYER, Direction
from editkit.edits import Edit, apply_edits
from editkit.errors import GeneratorMismatchError, LatentError, UsageError
from editkit.generator import random_generator
from editkit.latent import Latent
from editkit.rendering import image_grid, render
from editkit.seeds import z_from_seeds
from editkit.transform import Transform


def test_batches_do_not_show():
    G = LinearGenerator()
    latent = G.map(z_from_seeds(range(5), 4))
    steps = []
    images = render(G, latent, batch=2, on_progress=lambda done, total: steps.append((done, total)))
    assert images.shape == (5, 3, 8, 8) and images.dtype == torch.float32 and images.device.type == "cpu"
    assert G.batches == [2, 2, 1] and steps == [(2, 5), (4, 5), (5, 5)]
    assert torch.allclose(images, render(G, latent, batch=5), atol=1e-6)
    assert torch.allclose(images[3:4], G.synthesize(latent[3]), atol=1e-6)


def test_no_gradients():
    G = LinearGenerator()
    codes = G.map(z_from_seeds([0], 4)).tensor.requires_grad_()
    assert not render(G, Latent(space="w", codes=codes, generator=G.spec.id)).requires_grad


def test_transforms_go_with_latents():
    G = LinearGenerator()
    latent = G.map(z_from_seeds([0, 1], 4))
    moves = Transform.translate([0.0, 0.25, 0.5], 0.0)
    still = render(G, latent)
    several = render(G, latent[0], transform=moves, batch=2)
    assert torch.allclose(several, torch.cat([torch.roll(still[:1], n, 3) for n in (0, 2, 4)]), atol=1e-6)
    one = render(G, latent, transform=moves[1], batch=1)
    assert torch.allclose(one, torch.roll(still, 2, 3), atol=1e-6)
    with pytest.raises(UsageError, match="2 latents do not go with 3 transforms"):
        render(G, latent, transform=moves)
    with pytest.raises(UsageError, match="2 samples does not go with 3"):
        render(G, G.map(z_from_seeds([0, 1, 2], 4)), transform=moves[:2])


def test_what_cannot_be_rendered():
    G = LinearGenerator()
    latent = G.map(z_from_seeds([0], 4))
    with pytest.raises(LatentError, match="map it first"):
        render(G, Latent(space="z", codes=z_from_seeds([0], 4), generator=G.spec.id))
    with pytest.raises(GeneratorMismatchError):
        render(LinearGenerator(name="other"), latent)
    with pytest.raises(LatentError, match="NaN"):
        render(G, Latent(space="w", codes=latent.tensor * float("nan"), generator=G.spec.id))
    with pytest.raises(UsageError, match="batch"):
        render(G, latent, batch=0)


@pytest.fixture(scope="module")
def stylegan3():
    return random_generator(seed=0, resolution=16)


def test_a_real_network_in_every_space(stylegan3):
    w = stylegan3.map(z_from_seeds([0, 1, 2], stylegan3.spec.z_dim))
    images = render(stylegan3, w, batch=2)
    assert images.shape == (3, 3, 16, 16) and images.std() > 0
    assert torch.allclose(images, render(stylegan3, w, batch=3), atol=1e-5)
    assert torch.allclose(images, render(stylegan3, stylegan3.styles(w)), atol=1e-5)
    placed = render(stylegan3, w, transform=Transform.translate(0.25, 0.0))
    assert not torch.allclose(images, placed, atol=1e-3)
    assert torch.equal(images, render(stylegan3, apply_edits(w, []), batch=2))


def test_an_edit_of_a_row_is_an_edit_of_its_layers_style(stylegan3):
    w = stylegan3.map(z_from_seeds([3], stylegan3.spec.z_dim))
    s = stylegan3.styles(w)
    assert next(iter(s.styles)) == PLACEMENT_LAYER  # row 0 is the learned placement
    layer = list(s.styles)[1]
    row = Direction(name="row", vector=torch.ones(stylegan3.spec.w_dim), space="w", generator=stylegan3.spec.id)
    row = row.on_layers([1], num_ws=stylegan3.spec.num_ws)
    edited = stylegan3.styles(apply_edits(w, Edit(row, 1.0)))
    assert [name for name in s.styles if not torch.equal(s.styles[name], edited.styles[name])] == [layer]
    shift = {layer: edited.styles[layer][0] - s.styles[layer][0]}
    style = Direction(name="style", vector=shift, space="s", generator=stylegan3.spec.id)
    assert not row.touches_placement and not style.touches_placement
    by_row = render(stylegan3, edited)
    assert torch.allclose(by_row, render(stylegan3, apply_edits(s, Edit(style, 1.0))), atol=1e-5)
    assert not torch.allclose(by_row, render(stylegan3, w), atol=1e-3)


def test_grid():
    images = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 3, 2, 4) / 10
    grid = image_grid(images)
    assert grid.shape == (3, 4, 12)  # three columns, two rows
    assert grid[0, 0].tolist() == pytest.approx([0] * 4 + [0.1] * 4 + [0.2] * 4)
    assert grid[0, 3].tolist() == pytest.approx([0.3] * 4 + [0.4] * 4 + [1.0] * 4)
    padded = image_grid(images, columns=5, padding=1, background=-1.0)
    assert padded.shape == (3, 4, 26)
    assert padded[1, 1, :7].tolist() == pytest.approx([-1, 0, 0, 0, 0, -1, 0.1])
    assert (padded[:, [0, -1]] == -1).all()
    assert image_grid(images, columns=7).shape == (3, 2, 28)
    for bad in ({"columns": 0}, {"padding": -1}):
        with pytest.raises(UsageError):
            image_grid(images, **bad)
    with pytest.raises(UsageError, match="N, C, H, W"):
        image_grid(images[0])
