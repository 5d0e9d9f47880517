"""The projected discriminator and its game: shapes, gradients, independence of the batch, state, bad input."""

from __future__ import annotations

import pytest
import torch

from editkit.errors import UsageError
from editkit.networks import build_network
from train.losses import Batch
from train.projected_discriminator import ProjectedDiscriminator, spectral_norm
from train.projected_game import Projected
from train.streams import SampleStreams


def test_the_norm_is_the_largest_singular_value() -> None:
    weight = torch.randn(8, 5, 3, 3)
    assert spectral_norm(weight) == pytest.approx(float(torch.linalg.matrix_norm(weight.flatten(1), 2)), rel=1e-3)


@pytest.mark.parametrize(("channels", "side", "c_dim"), [(1, 32, 0), (3, 33, 2), (4, 50, 0)])
def test_shapes_and_gradients(channels: int, side: int, c_dim: int) -> None:
    D = ProjectedDiscriminator(img_resolution=side, img_channels=channels, c_dim=c_dim, width=4, largest=16)
    images = torch.randn(2, channels, side, side, requires_grad=True)
    label = torch.eye(2) if c_dim else None
    logits = D(images, label)
    assert logits.shape == (2, 64)
    logits.sum().backward()
    assert images.grad is not None and (images.grad.abs().amax((0, 2, 3)) > 0).all()
    assert all(p.grad is not None for p in D.parameters())
    assert all(p.grad is None and not p.requires_grad for p in D._held[0].parameters())
    alone = D(images[:1], None if label is None else label[:1])
    assert torch.allclose(alone, logits[:1], atol=1e-5)


def test_the_state_is_all_but_the_backbone_and_makes_the_same_network() -> None:
    first, second = (ProjectedDiscriminator(img_resolution=32, width=4, largest=16, seed=s) for s in (0, 1))
    image = torch.randn(1, 3, 32, 32)
    assert not torch.equal(first(image), second(image))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(image), second(image))
    assert not any("network" in name for name in first.state_dict())


def test_the_game_moves_each_network_in_its_phase_only() -> None:
    G = build_network("stylegan2", {"z_dim": 8, "c_dim": 0, "w_dim": 8, "img_resolution": 32, "img_channels": 3,
                                    "channel_base": 256, "channel_max": 8})  # fmt: skip
    D = ProjectedDiscriminator(img_resolution=32, width=4, largest=16)
    game = Projected(G, D)
    batch = Batch(z=torch.randn(2, 8), source=SampleStreams([1, 2]), seen=0, real=torch.randn(2, 3, 32, 32))
    report = game.play_generator(batch)
    assert any(p.grad is not None for p in G.parameters()) and all(p.grad is None for p in D.parameters())
    assert report["loss/G"].shape == (2,)
    G.zero_grad(set_to_none=True)
    report = game.play_discriminator(batch)
    assert all(p.grad is None for p in G.parameters()) and all(p.grad is not None for p in D.parameters())
    assert report["loss/D"].shape == (2,)


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="channels"):
        ProjectedDiscriminator(img_resolution=32, img_channels=2)
    D = ProjectedDiscriminator(img_resolution=32, c_dim=2, width=4, largest=16)
    with pytest.raises(ValueError, match="labels"):
        D(torch.zeros(1, 3, 32, 32))
