"""DiffAugment: its ranges, a sample's independence of its batch, gradients, channels, bad input."""

from __future__ import annotations

import pytest
import torch

from editkit.errors import UsageError
from train.diff_augment import diff_augment
from train.streams import SampleStreams


def test_each_sample_is_moved_cut_and_coloured_within_the_ranges() -> None:
    count, side = 400, 16
    images = torch.full((count, 4, side, side), 0.5)
    made = diff_augment(images, SampleStreams(range(count)))
    shape = made[:, 3] != 0  # the fourth channel is moved and cut, never coloured
    assert torch.equal(made[:, 3][shape], torch.full((int(shape.sum()),), 0.5))
    colour = made[:, 0][shape]
    assert colour.min() < 0.02 and 0.98 < colour.max() <= 1.0  # one colour: 0.5 and the brightness
    kept = shape.float().mean((1, 2))
    assert kept.min() > (1 - 1 / 8) ** 2 - 0.25 - 0.01 and kept.max() < 1  # the box never lies wholly outside
    sides = shape.float().mean(0)
    assert sides.min() > 0.3  # every place is seen


def test_saturation_and_contrast() -> None:
    images = torch.stack([torch.linspace(-1, 1, 256).reshape(16, 16).roll(i, 0) for i in range(3)])[None]
    images = images.expand(300, -1, -1, -1)
    made = diff_augment(images, SampleStreams(range(300)))
    inside = made.flatten(1) != 0
    spread = torch.stack([(m[k].max() - m[k].min()) for m, k in zip(made.flatten(1), inside, strict=True)])
    assert spread.min() > 0.3 and spread.max() < 2 * 1.5 * 2


def test_a_sample_does_not_depend_on_its_batch_and_streams_differ() -> None:
    images = torch.randn(4, 3, 16, 16)
    whole = diff_augment(images, SampleStreams([5, 6, 7, 8]))
    alone = diff_augment(images[2:3], SampleStreams([7]))
    assert torch.allclose(whole[2:3], alone, atol=1e-6)
    same = images[:1].expand(4, -1, -1, -1)
    made = diff_augment(same, SampleStreams([5, 6, 7, 8]))
    assert not any(torch.equal(made[0], other) for other in made[1:])


def test_gradients_are_right_twice() -> None:
    images = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)

    def f(x: torch.Tensor) -> torch.Tensor:
        return diff_augment(x, SampleStreams([1]))

    assert torch.autograd.gradcheck(f, images) and torch.autograd.gradgradcheck(f, images)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 2, 16, 16), (2, 3, 1, 16)])
def test_bad_input(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="augmentation takes"):
        diff_augment(torch.zeros(shape), SampleStreams([1, 2]))
