"""A grown StyleGAN-XL: the stem stays bit for bit while the head learns."""

from __future__ import annotations

import pytest
import torch

from editkit.errors import CheckpointError
from editkit.generator import random_generator
from train.losses import Batch
from train.projected_discriminator import ProjectedDiscriminator
from train.projected_game import Projected
from train.stages import grow, kept_names
from train.streams import SampleStreams


def test_only_the_head_learns() -> None:
    stem = random_generator(kind="stylegan_xl", resolution=16)
    G, arguments = grow(stem.arguments, stem.state_dict(), resolution=32, head_layers=4)
    assert G.img_resolution == arguments["img_resolution"] == 32
    kept = kept_names(G, 4)
    assert all(torch.equal(G.state_dict()[name], stem.state_dict()[name]) for name in kept)
    before = {name: value.clone() for name, value in G.state_dict().items()}
    game = Projected(G, ProjectedDiscriminator(img_resolution=32, c_dim=4, width=4, largest=16))
    label = torch.eye(4)[:2]
    batch = Batch(z=torch.randn(2, G.z_dim), source=SampleStreams([1, 2]), seen=0, label=label,
                  real=torch.randn(2, 3, 32, 32), real_label=label)  # fmt: skip
    optimizer = torch.optim.Adam([p for p in G.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):
        game.play_discriminator(batch)
        optimizer.zero_grad()
        game.play_generator(batch)
        optimizer.step()
    after = G.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and not changed & set(kept)


def test_other_weights_are_refused() -> None:
    stem = random_generator(kind="stylegan_xl", resolution=16)
    weights = stem.state_dict()
    del weights["mapping.fc0.weight"]
    with pytest.raises(CheckpointError, match=r"mapping\.fc0\.weight"):
        grow(stem.arguments, weights, resolution=32, head_layers=4)
