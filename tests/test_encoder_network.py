"""The small convolutional encoder."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import absolute_error

from editkit.networks.encoder import ConvEncoder


@pytest.mark.parametrize(("resolution", "out_dim"), [(8, 5), (32, 16), (64, 40)])
def test_shape_gradients_and_independence_of_the_batch(resolution: int, out_dim: int) -> None:
    torch.manual_seed(1)
    model = ConvEncoder(img_resolution=resolution, out_dim=out_dim, channel_base=128, channel_max=16)
    images = torch.randn(3, 3, resolution, resolution, requires_grad=True)
    codes = model(images)
    assert codes.shape == (3, out_dim)
    for i in range(3):
        assert absolute_error(model(images[i : i + 1]), codes[i : i + 1]) < 1e-5
    gradients = torch.autograd.grad(codes[0].square().sum(), [images, *model.parameters()])
    assert all(torch.isfinite(g).all() and g.abs().max() > 0 for g in gradients)
    assert gradients[0][1:].abs().max() == 0


def test_weights_survive_a_state_dict() -> None:
    made = [ConvEncoder(img_resolution=16, out_dim=4, img_channels=1, channel_base=64) for _ in range(2)]
    image = torch.randn(1, 1, 16, 16)
    assert absolute_error(made[0](image), made[1](image)) > 1e-3
    made[1].load_state_dict(made[0].state_dict())
    assert torch.equal(made[0](image), made[1](image))


def test_it_can_learn() -> None:
    """A few steps towards given codes: the scaling of weights and gains is of the right order."""
    torch.manual_seed(0)
    model = ConvEncoder(img_resolution=16, out_dim=2, channel_base=128, channel_max=16)
    images = torch.randn(8, 3, 16, 16)
    target = images.mean([1, 2, 3])[:, None] * torch.tensor([20.0, -20.0])
    optimiser = torch.optim.Adam(model.parameters(), lr=6e-3)
    losses = []
    for _ in range(25):
        loss = (model(images) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
