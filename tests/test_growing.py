"""A generator with more channels makes the same pictures, and uses what is new once it is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from starter_fixtures import TINY

from editkit.errors import UsageError
from editkit.networks.stylegan3 import StyleGAN3Generator
from train.growing import grown

WIDE = TINY | {"channel_base": 160, "channel_max": 20}


def _trained() -> StyleGAN3Generator:
    """Weights, biases and magnitudes as no fresh network has them."""
    torch.manual_seed(1)
    G = StyleGAN3Generator(**TINY)
    with torch.no_grad():
        for name, value in G.state_dict().items():
            if name.endswith(("weight", "bias")):
                value += 0.3 * torch.randn_like(value)
            elif name.endswith("magnitude_ema"):
                value.copy_(0.3 + torch.rand([]))
    return G


def test_the_pictures_stay_and_the_new_channels_learn() -> None:
    before, after = _trained(), StyleGAN3Generator(**WIDE)
    after.load_state_dict(grown(before.state_dict(), TINY, WIDE))
    z = torch.randn(4, 8)
    wanted = before(z).detach()
    assert wanted.std() > 0.01
    torch.testing.assert_close(after(z), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    old, new = (G.synthesis.layers()[1].weight.shape for G in (before, after))
    assert new[0] > old[0] and new[1] > old[1]
    optimizer = torch.optim.Adam(after.synthesis.parameters(), lr=1e-2)
    after(z).square().mean().backward()
    optimizer.step()
    fresh = after.synthesis.layers()[1].weight[: old[0], old[1] :]  # old channels, reading new ones
    assert bool((fresh != 0).all())


def test_the_same_seed_gives_the_same_and_the_random_state_stays() -> None:
    state = _trained().state_dict()
    drawn = torch.random.get_rng_state()
    first, again, other = (grown(state, TINY, WIDE, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), drawn)
    weight = "synthesis.input.weight"
    assert torch.equal(first[weight], again[weight]) and not torch.equal(first[weight], other[weight])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"num_layers": 5}, "these differ too: num_layers"),
        ({"conv_kernel": 1}, "these differ too: conv_kernel"),
        ({"channel_max": 6}, "does not shrink: L0_.* 6 channels, of 8"),
    ],
)
def test_refusals(change: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        grown(_trained().state_dict(), TINY, TINY | change)
