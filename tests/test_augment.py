"""Augmentation against the reference, case by case, and its promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import fixture_path
from torch import Tensor

from editkit.errors import UsageError
from train.augment import CATEGORIES, PRESETS, Augment, AugmentOptions, preset
from train.augment_bands import filter_bank
from train.augment_geometry import SYM6
from train.resampling import sample_bilinear
from train.streams import SampleStreams


class Pinned:
    """Every variable at one percentile, as in the fixtures: normals are erfinv(2 p - 1), the second turn none."""

    def __init__(self, percentile: float, eps: Tensor | None = None) -> None:
        self.percentile, self.eps = percentile, eps

    def uniform(self, name: str, count: int, size: int = 1) -> Tensor:
        value = 0.0 if name.endswith("?") else 0.5 if name == "rotate_after" else self.percentile
        return torch.full((count, size), value)

    def normal(self, name: str, count: int, size: int = 1) -> Tensor:
        position = torch.tensor(self.percentile if name == "noise" else 2 * self.percentile - 1)
        return torch.erfinv(position).expand(count, size)

    def field(self, name: str, count: int, shape: Sequence[int]) -> Tensor:
        assert self.eps is not None and list(self.eps.shape) == [count, *shape]
        return self.eps


def cases() -> list[Any]:
    path = fixture_path("augment/ada.json")
    assert path is not None
    return [pytest.param(case, id=case["id"]) for case in json.loads(path.read_text())["cases"]]


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    path = fixture_path("augment/ada.npz")
    assert path is not None
    with np.load(path) as stored:
        return dict(stored)


@pytest.mark.parametrize("case", cases())
def test_every_case_and_its_gradient(case: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    stride = int(arrays.get("stride", np.array(1)))  # the small copy keeps every fourth pixel of the results
    images = torch.from_numpy(arrays[case["input"]]).requires_grad_()
    eps = torch.from_numpy(arrays[case["eps"]]) if "eps" in case else None
    source = Pinned(case["debug_percentile"], eps)
    out = Augment(AugmentOptions(**case["aug_kwargs"]))(images, strength=1.0, source=source)
    assert (out[..., ::stride, ::stride] - torch.from_numpy(arrays[case["id"] + "__y"])).abs().max() <= 2e-5
    if case["id"] + "__gx" not in arrays:
        return
    (gradient,) = torch.autograd.grad((out * torch.from_numpy(arrays[case["r"]])).sum(), images)
    wanted = torch.from_numpy(arrays[case["id"] + "__gx"])
    assert (gradient[..., ::stride, ::stride] - wanted).abs().max() <= 2e-4 * wanted.abs().max()


def test_strength_zero_gives_the_picture_back(arrays: dict[str, np.ndarray]) -> None:
    for name in ("in__rgb32", "in__rgb24x40", "in__gray32"):
        if name not in arrays:  # the small copy has two of them
            continue
        images = torch.from_numpy(arrays[name])
        out = Augment(preset("bgcf"))(images, strength=0.0, source=SampleStreams(range(len(images))))
        assert 0 < (out - images).abs().max() <= 1e-5
        if name == "in__rgb32":
            out = Augment(preset("bgc"))(images, strength=0.0, source=SampleStreams(range(4)))
            assert (out - torch.from_numpy(arrays["p0_bgc__y"])).abs().max() <= 2e-5


def test_the_filters_match_the_reference(arrays: dict[str, np.ndarray]) -> None:
    assert np.abs(filter_bank().numpy() - arrays["Hz_fbank"]).max() <= 1e-6
    assert np.abs(np.array(SYM6) / sum(SYM6) - arrays["Hz_geom"]).max() <= 1e-7
    identity = torch.zeros(43)
    identity[21] = 1
    assert (filter_bank().sum(0) - identity).abs().max() <= 1e-6


@pytest.mark.parametrize("shape", [(3, 3, 16, 16), (3, 1, 12, 20), (3, 4, 8, 8)])
def test_a_sample_is_augmented_alike_in_any_batch(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape) * 2 - 1
    augment, seeds = Augment(preset("bgcfnc")), [5, 2**62, 77]
    together = augment(images, strength=0.8, source=SampleStreams(seeds))
    alone = torch.cat(
        [augment(images[i : i + 1], strength=0.8, source=SampleStreams(seeds[i : i + 1])) for i in range(3)]
    )
    assert together.shape == shape
    assert (together - images).abs().amax((1, 2, 3)).min() > 0.05
    if shape[2] > 8:  # the margin is that of the batch, and at 8 pixels it ends at the size of the picture
        assert (together - alone).abs().max() <= 1e-4


def test_further_channels_keep_their_colour() -> None:
    images = torch.rand(2, 4, 16, 16)
    out = Augment(preset("color"))(images, strength=1.0, source=SampleStreams([1, 2]))
    assert torch.equal(out[:, 3], images[:, 3]) and not torch.allclose(out[:, :3], images[:, :3])


def test_the_second_derivative_exists_and_is_right() -> None:
    """d/dx of |d sum(aug(x)^2)/dx|^2 against finite differences: what the penalty R1 asks for."""
    augment, source = Augment(preset("bgcf")), SampleStreams([3])
    images = (torch.rand(1, 3, 12, 12) * 2 - 1).double()
    direction = torch.randn(images.shape).double()

    def penalty(x: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(augment(x, strength=1.0, source=source).pow(3).sum(), x, create_graph=True)
        return gradient.square().sum()

    x = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(penalty(x), x)
    ends = [penalty((images + sign * 1e-5 * direction).requires_grad_()).item() for sign in (1, -1)]
    assert (found * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_sampling_agrees_with_torch() -> None:
    image, grid = (
        torch.rand(2, 1, 3, 4, dtype=torch.float64).requires_grad_(),
        torch.rand(2, 3, 2, 2).double() * 3 - 1.5,
    )
    wanted = torch.nn.functional.grid_sample(image, grid, align_corners=False)
    assert torch.equal(sample_bilinear(image, grid), wanted)
    assert torch.autograd.gradcheck(lambda x: sample_bilinear(x, grid), image)
    assert torch.autograd.gradgradcheck(lambda x: sample_bilinear(x, grid), image)


def test_a_transformation_happens_as_often_as_the_strength_says() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4).expand(600, 1, 4, 4) / 16
    out = Augment(AugmentOptions(xint=1.0))(images, strength=0.3, source=SampleStreams(range(600)))
    assert torch.isfinite(out).all()
    boxes = Augment(AugmentOptions(cutout=0.5))(images + 1, strength=0.6, source=SampleStreams(range(600)))
    share = (boxes == 0).any(3).any(2).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.06)  # three standard deviations of 600 draws


def test_presets_are_the_categories() -> None:
    assert preset("none") == AugmentOptions()
    chosen = preset("bgcfnc")
    assert all(getattr(chosen, option) == 1 for options in CATEGORIES.values() for option in options)
    assert preset("bgc").imgfilter == 0 and preset("bgc").hue == 1
    assert {"blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc"} < set(PRESETS)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"scale": -1.0}, "scale"),
        ({"hue": float("nan")}, "hue"),
        ({"imgfilter_bands": [1, 1]}, "four"),
        ({"imgfilter_bands": [1, 1, 1, -1]}, "imgfilter_bands"),
    ],
)
def test_bad_options(change: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        AugmentOptions(**change)


def test_bad_calls() -> None:
    augment, source = Augment(preset("bgc")), SampleStreams([1])
    with pytest.raises(UsageError, match="strength"):
        augment(torch.zeros(1, 3, 8, 8), strength=1.5, source=source)
    with pytest.raises(UsageError, match="images"):
        augment(torch.zeros(1, 2, 8, 8), strength=0.5, source=source)
    with pytest.raises(UsageError, match="of 1 streams"):
        augment(torch.zeros(2, 3, 8, 8), strength=0.5, source=source)
    with pytest.raises(UsageError, match="bgc"):
        preset("all")
