"""Random numbers a sample: independent of batch and order, and of the right distribution."""

from __future__ import annotations

import pytest
import torch

from editkit.errors import UsageError
from train.streams import SampleStreams, mixed_seed


def test_a_number_depends_on_its_seed_and_its_name_only() -> None:
    streams, other = SampleStreams([7, 8, 9]), SampleStreams([9])
    for draw in ("uniform", "normal"):
        found = getattr(streams, draw)("hue", 3, 4)
        assert torch.equal(found[2:], getattr(other, draw)("hue", 1, 4))
        assert torch.equal(found[:, :2], getattr(streams, draw)("hue", 3, 2))
        assert not torch.equal(found, getattr(streams, draw)("scale", 3, 4))
    assert torch.equal(streams.field("noise", 3, (2, 4, 4))[2:], other.field("noise", 1, (2, 4, 4)))


def test_the_distributions() -> None:
    streams = SampleStreams(range(4000))
    uniform, normal, field = (
        streams.uniform("a", 4000, 5),
        streams.normal("a", 4000, 5),
        streams.field("a", 40, (3, 16, 16)),
    )
    assert uniform.min() > 0 and uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01) and uniform.var().item() == pytest.approx(
        1 / 12, abs=2e-3
    )
    for numbers in (normal, field):
        assert numbers.mean().item() == pytest.approx(0, abs=0.03) and numbers.std().item() == pytest.approx(
            1, abs=0.03
        )
    neighbours = torch.corrcoef(torch.stack([uniform[:-1, 0], uniform[1:, 0], uniform[:-1, 1]]))
    assert (neighbours - torch.eye(3)).abs().max() < 0.06  # neighbouring seeds and numbers have nothing in common


def test_mixed_seeds_are_known_numbers() -> None:
    """They may not change from version to version: a resumed run draws the same numbers."""
    assert mixed_seed(0, "D", 1000, 3) == mixed_seed(0, "D", 1000, 3) != mixed_seed(0, "D", 1000, 4)
    assert 0 <= mixed_seed(-1) < 2**63
    assert mixed_seed(0, "G") == 3877940023427433750
    assert SampleStreams([1]).uniform("xflip", 1).item() == pytest.approx(0.11722627282, rel=1e-6)
    assert SampleStreams([1]).normal("scale", 1).item() == pytest.approx(-0.6594212055, rel=1e-6)


def test_bad_seeds() -> None:
    with pytest.raises(UsageError, match="2\\*\\*63"):
        SampleStreams([-1])
    with pytest.raises(UsageError, match="2 samples"):
        SampleStreams([1]).normal("a", 2)
