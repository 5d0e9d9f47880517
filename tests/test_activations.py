"""Components of activations: the stream gives what all samples at once give, and the regression finds w again."""

from __future__ import annotations

import pytest
import torch
from linear_generator import LinearGenerator

from directions import find
from directions.activations import LayerGanSpace
from directions.incremental import IncrementalComponents
from editkit.edits import Edit, apply_edits
from editkit.errors import DirectionError, UsageError
from editkit.feature_map import FeatureMap
from editkit.generator import random_generator
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.seeds import normal


class Layered(LinearGenerator):
    """One layer of 6 x 2 x 2 activations: 5, 2 and 0.5 times w[1], w[0] and w[3] along orthogonal axes."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.basis = torch.eye(4)
        axes = torch.linalg.qr(normal(4, (24, 3))).Q
        self.layer = torch.zeros(24, 4)
        self.layer[:, 1], self.layer[:, 0], self.layer[:, 3] = 5 * axes[:, 0], 2 * axes[:, 1], 0.5 * axes[:, 2]
        self.sizes: list[int] = []

    def features(self, latent, layer):
        if layer != 0:
            raise UsageError("features at layers 0 to 0")
        self.sizes.append(len(latent))
        values = (latent.tensor[:, 0] @ self.layer.T + 1.0).reshape(-1, 6, 2, 2)
        return FeatureMap(values=values, rate=2.0, resolution=8)


def test_a_layers_components_are_carried_back_to_w():
    """w[0] varies most, but the layer shows w[1] most; w[2] it does not show at all."""
    G = Layered(scales=[1.5, 1.0, 9.0, 1.0])
    found = find(G, LayerGanSpace(layer=0, count=3, samples=3000))
    assert [one.name for one in found] == ["layer0-0", "layer0-1", "layer0-2"]
    steps = torch.stack([one.vector for one in found])
    expected = torch.zeros(3, 4)
    expected[0, 1], expected[1, 0], expected[2, 3] = 1.0, 1.5, 1.0  # one deviation of w each
    # w[2] is not in the layer: what is left there is chance, its deviation 9 over the root of 3000 samples
    assert torch.allclose(
        steps.abs()[:, [0, 1, 3]], expected[:, [0, 1, 3]], atol=0.12
    )  # chance: 1.5 / root of 3000 is 0.03
    assert float(steps[:, 2].abs().max()) < 4 * 9 / 3000**0.5
    assert found[0].scores["explained"] == pytest.approx(25 / (25 + 9 + 0.25), rel=0.05)
    assert all(one.scores["in_w"] == pytest.approx(1, abs=1e-3) for one in found)
    assert "in_w" not in find(G, LayerGanSpace(layer=0, count=1, samples=9))[0].scores  # too few to tell
    part = find(G, LayerGanSpace(layer=0, count=1, samples=100, layers=[1]))[0]
    assert part.space == "w+" and not part.touches_placement


@pytest.mark.parametrize("batch", [7, 64, 300])
def test_the_stream_is_a_plain_pca_whatever_the_batch(batch):
    x = normal(1, (300, 5)) @ normal(2, (5, 40)) + 3.0
    x[150:] += 2.0  # the mean moves on the way
    stream = IncrementalComponents(8)
    for part in x.split(batch):
        stream.update(part)
    centred = x.double() - x.double().mean(0)
    _, values, rows = torch.linalg.svd(centred, full_matrices=False)
    assert torch.allclose(stream.deviations[:5], values[:5] / 299**0.5, rtol=1e-4)
    assert torch.allclose((stream.vectors[:5].double() * rows[:5]).sum(1).abs(), torch.ones(5).double(), atol=1e-4)
    assert torch.allclose(stream.mean, x.double().mean(0), atol=1e-5)
    assert stream.total_variance == pytest.approx(float(centred.square().sum()) / 299, rel=1e-5)
    assert (stream.vectors.gather(1, stream.vectors.abs().argmax(1, keepdim=True))[:5] > 0).all()


def test_cutting_off_keeps_the_leading_components():
    scales = torch.tensor([8.0, 4.0, 2.0] + [0.3] * 37)
    x = normal(1, (600, 40)) * scales
    stream = IncrementalComponents(8)
    for part in x.split(20):
        stream.update(part)
    assert stream.deviations[:3].tolist() == pytest.approx([8, 4, 2], rel=0.08)
    assert torch.allclose(stream.vectors[:3].abs(), torch.eye(40)[:3], atol=0.1)


def test_memory_does_not_grow_with_samples():
    """What is held after 40 and after 4,000 samples is the same, and no batch is larger than was asked for."""
    held = []
    for samples in (40, 4000):
        stream = IncrementalComponents(6)
        for part in normal(1, (samples, 50)).split(20):
            stream.update(part)
        held.append({name: value.shape for name, value in vars(stream).items() if isinstance(value, torch.Tensor)})
    assert held[0] == held[1] == {"mean": (50,), "_rows": (6, 50)}
    G = Layered()
    find(G, LayerGanSpace(layer=0, count=2, samples=205, batch=20))
    assert max(G.sizes) == 20 and sum(G.sizes) == 2 * 205


@pytest.mark.parametrize(("kind", "layer"), [("stylegan3", 2), ("stylegan2", 1)])
def test_a_real_network(kind, layer):
    G = random_generator(seed=1, kind=kind, resolution=16)
    steps = []
    found = find(
        G, LayerGanSpace(layer=layer, count=2, samples=40, batch=20), on_progress=lambda *step: steps.append(step)
    )
    assert steps == [(20, 80), (40, 80), (60, 80), (80, 80)]
    w = sample_w(G, [0])
    moved = render(G, apply_edits(w, Edit(found[0], 2.0)))
    assert torch.isfinite(moved).all() and not torch.allclose(moved, render(G, w), atol=1e-4)


@pytest.mark.parametrize(
    ("generator", "options", "message"),
    [
        (Layered(), {"layer": 3}, "layers 0 to 0"),
        (Layered(), {"layer": 0, "count": 4}, "vary along 3 components"),
        (Layered(), {"layer": 0, "count": 0}, "at least 1"),
        (Layered(), {"layer": 0, "batch": 0}, "at least 1"),
        (Layered(), {"layer": 0, "count": 3, "samples": 3}, "more samples"),
        (LinearGenerator(), {"layer": 0}, "does not show its activations"),
        (Layered(scales=[float("nan"), 1.0, 1.0, 1.0]), {"layer": 0}, "NaN"),
        (Layered(scales=[0.0, 0.0, 1.0, 0.0]), {"layer": 0}, "vary along 0 components"),
    ],
)
def test_what_cannot_be_done(generator, options, message):
    with pytest.raises(DirectionError, match=message):
        find(generator, LayerGanSpace(**{"samples": 50, "count": 1, **options}))
