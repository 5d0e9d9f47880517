"""Channels of s: found by correlation and by gradient where the answer is known, and on a real network."""

from __future__ import annotations

import pytest
import torch
from styled_generator import StyledGenerator

from directions import find, score
from directions.attributes import Scorer
from directions.bank import SampleBank, labelled
from directions.channels import channel_direction, channel_reach, in_units
from directions.labels import Labelled
from directions.spaces import Where
from directions.style_gradient import StyleGradient, without
from directions.stylespace import StyleCorrelation, correlated, correlations
from editkit.edits import Edit, apply_edits, as_styles
from editkit.errors import DirectionError
from editkit.generator import random_generator
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.seeds import normal


def pixel(name, *columns, weights=None):
    def measure(images):
        picked = images[:, 0, 0, list(columns)]
        return picked @ torch.tensor(weights or [1.0] * len(columns))

    return Scorer(name=name, unit="", measure=measure)


TONE = pixel("tone", 2)  # channel 0 of L2, and nothing else
BOTH = pixel("both", 0, 3, weights=[1.0, 2.0])  # channel 0 of L1 and, with twice the weight, channel 1 of L2


@pytest.mark.parametrize(
    "method",
    [StyleCorrelation(scorer=TONE, samples=300), StyleGradient(scorer=TONE, channels=1, samples=16)],
    ids=lambda one: type(one).__name__,
)
def test_one_channel_is_found(method):
    G = StyledGenerator(resolution=8)
    (found,) = find(G, method)
    assert found.name == "tone.L2.0" and found.space == "s" and list(found.vector) == ["L2"]
    assert found.vector["L2"][1] == 0 and float(found.vector["L2"][0]) == pytest.approx(5, rel=0.15)  # its deviation
    assert found.strength[1] >= 1 and not found.touches_placement
    against = score.baseline(G, [TONE, BOTH], samples=500)
    seen = score.measure(G, found, [TONE, BOTH], against=against, samples=4)
    assert seen.effects["tone"] == pytest.approx(1, rel=0.1) and seen.effects["both"] == pytest.approx(0, abs=1e-4)


def test_the_samples_are_those_of_the_shipped_bank_where_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    G = StyledGenerator(resolution=8)
    asked: list[int] = []

    def counted(G: StyledGenerator, scorers: list[Scorer], *, samples: int, **options: object) -> SampleBank:
        asked.append(samples)
        return labelled(G, scorers, samples=samples, **options)

    monkeypatch.setattr("directions.stylespace.usual_samples", lambda G, scorers, *, seed: 320)
    monkeypatch.setattr("directions.stylespace.labelled", counted)
    (found,) = find(G, StyleCorrelation(scorer=TONE))
    assert found.name == "tone.L2.0" and asked == [320]


@pytest.mark.parametrize(
    "method",
    [StyleCorrelation(scorer=BOTH, channels=2, samples=300), StyleGradient(scorer=BOTH, channels=2, samples=16)],
    ids=lambda one: type(one).__name__,
)
def test_several_channels_and_their_weights(method):
    """both = a + 2 b with deviations 0.3 and 0.2: in deviations its gradient is (0.3, 0.4), in s (3 x 0.3, 2 x 0.4)."""
    (found,) = find(StyledGenerator(resolution=8), method)
    assert found.name == "both" and set(found.vector) == {"L1", "L2"} and found.scores["channels"] == 2
    ratio = float(found.vector["L1"][0] / found.vector["L2"][1])
    assert ratio == pytest.approx(0.9 / 0.8, rel=0.25)
    assert found.vector["L1"][1] == 0 and found.vector["L2"][0] == 0


def test_the_best_channels_one_by_one():
    method = StyleGradient(scorer=BOTH, channels=1, count=2, samples=16)
    assert [one.name for one in find(StyledGenerator(resolution=8), method)] == ["both.L2.1", "both.L1.0"]
    # the third channel that correlates by chance does not move the score, and is not offered
    method = StyleCorrelation(scorer=BOTH, channels=1, count=3, samples=300)
    assert [one.name for one in find(StyledGenerator(resolution=8), method)] == ["both.L2.1", "both.L1.0"]


def test_ranges_end_before_pictures_break():
    """The score saturates, so a unit measured over a wide range is too long; within reach it is right again."""
    G = StyledGenerator(resolution=8)
    bent = Scorer(name="bent", unit="", measure=lambda i: i[:, 0, 0, 2] + 4 * torch.sigmoid(4 * i[:, 0, 0, 1] - 0.8))
    (found,) = find(G, StyleGradient(scorer=bent, channels=1, layers=["L2"], samples=16))
    reach = channel_reach(G, found)
    assert 0.1 <= found.strength[1] <= reach + 1e-6
    against = score.baseline(G, [bent], samples=500)
    strengths = (-found.strength[1], found.strength[1])
    seen = score.measure(G, found, [bent], against=against, samples=64, strengths=strengths)
    assert seen.effects["bent"] == pytest.approx(1, rel=0.15)
    weak = Scorer(name="weak", unit="", measure=lambda i: i[:, 0, 0, 2] + 200 * i[:, 0, 0, 1])
    with pytest.raises(DirectionError, match="before pictures break"):
        find(G, StyleGradient(scorer=weak, channels=1, layers=["L2"], samples=16))


def test_a_score_that_falls_again_beyond_reach_is_followed_within_it():
    """Over the range that the layer allows more of the channel is less of the score; within its own it is more."""
    G = StyledGenerator(resolution=8)
    G.matrices["L2"][1, 3] = 50.0  # so the layer allows 30 deviations of its other channel

    def measure(images):
        x = images[:, 0, 0, 2]  # 0.5 a deviation
        return x - 3 * (x - 2).relu() + 3 * (-x - 2).relu() + 0.2 * images[:, 0, 0, 3]

    scorer = Scorer(name="hill", unit="", measure=measure)
    against = score.baseline(G, [scorer], samples=500)
    (found,) = in_units(G, [channel_direction(G, {"L2": {0: 1.0}}, name="hill")], scorer, against=against)
    assert float(found.vector["L2"][0]) > 0 and 0.1 <= found.strength[1] <= channel_reach(G, found)
    seen = score.measure(G, found, [scorer], against=against, samples=64)
    assert seen.means["hill"] == pytest.approx(
        1, rel=0.3
    )  # its halves differ, so their mean sets the unit; steeper in the middle of the range


def test_a_correlated_channel_that_does_nothing_is_not_taken():
    """L1's second channel follows the first and so correlates with the score, but the picture does not show it."""
    G = StyledGenerator(resolution=8)
    G.matrices["L1"][1] = G.matrices["L1"][0] * 0.5
    latents = sample_w(G, range(300))
    x = as_styles(latents, G).styles["L1"].double()
    assert correlations(x, latents.tensor[:, 0, 0]).tolist() == pytest.approx([1, 1])
    (found,) = find(G, StyleCorrelation(scorer=pixel("x", 0), samples=300))
    assert found.name == "x.L1.0"


@pytest.mark.parametrize("batch", [7, 100, 1000])
def test_correlations_batch_by_batch(batch):
    G = StyledGenerator(resolution=8)
    G.matrices["L1"][1] = 0.0  # a channel that never varies
    labels = Labelled(name="x", latents=sample_w(G, range(100)), scores=normal(9, (100,)), source="")
    x = torch.cat([as_styles(labels.latents, G).styles[name].double() for name in ("L1", "L2")], dim=1)
    found, deviations = correlated(G, labels, Where(space="s"), batch=batch)
    assert torch.allclose(found, correlations(x, labels.scores)) and found[1] == 0
    assert torch.allclose(deviations, x.std(0), atol=1e-7)
    assert float(found[0]) == pytest.approx(torch.corrcoef(torch.stack([x[:, 0], labels.scores]))[0, 1].item())


def test_labels_without_a_scorer():
    G = StyledGenerator(resolution=8)
    latents = sample_w(G, range(100))
    labels = Labelled(name="mine", latents=latents, scores=-latents.tensor[:, 0, 3], source="by hand")
    (found,) = find(G, StyleCorrelation(labels=labels))
    assert found.name == "mine.L2.1" and float(found.vector["L2"][1]) < 0 and "deviations" in found.unit


def test_scores_to_keep_are_projected_out():
    G = StyledGenerator(resolution=8)
    method = StyleGradient(scorer=BOTH, keep=[pixel("kept", 3)], channels=4, samples=16)
    (found,) = find(G, method)
    assert float(found.vector["L1"][0]) > 1 and abs(float(found.vector.get("L2", torch.zeros(2))[1])) < 1e-4
    a, b = normal(0, (6,)).double(), normal(1, (2, 6)).double()
    assert torch.allclose(b @ without(a, b), torch.zeros(2, dtype=torch.float64), atol=1e-12)
    assert torch.equal(without(a, b[:0]), a)
    with pytest.raises(DirectionError, match="nothing of this direction is left"):
        without(b[0] - b[1], b)


def test_channels_by_hand():
    G = StyledGenerator(resolution=8)
    made = channel_direction(G, {"L1": {1: 2.0}, "L2": {0: -1.0}}, name="mine")
    assert made.name == "mine" and float(made.vector["L1"][1]) == pytest.approx(2, rel=0.1)
    assert float(made.vector["L2"][0]) == pytest.approx(-5, rel=0.1)
    # 3 deviations at most where w has four dimensions, and a unit is the root of 2^2 + 1
    assert made.strength[1] == pytest.approx(3 / 5**0.5, rel=0.05) and made.strength[0] == -made.strength[1]
    for bad in ({"L9": {0: 1.0}}, {"L1": {2: 1.0}}, {"L1": {-1: 1.0}}):
        with pytest.raises(DirectionError, match=r"L1 \(2\)|L2 \(2\)"):
            channel_direction(G, bad, name="mine")
    with pytest.raises(DirectionError, match="at least one"):
        channel_direction(G, {}, name="mine")


@pytest.mark.parametrize("kind", ["stylegan3", "stylegan2"])
def test_a_real_network(kind):
    G = random_generator(seed=1, kind=kind, resolution=16)
    tone = Scorer(name="red", unit="", measure=lambda images: images[:, 0].mean((1, 2)))
    (found,) = find(G, StyleGradient(scorer=tone, channels=3, samples=4))
    w = sample_w(G, [7])
    more, less = (render(G, apply_edits(w, Edit(found, s), generator=G)) for s in (0.5, -0.5))
    assert float(tone(more)) > float(tone(render(G, w))) > float(tone(less))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (StyleCorrelation, {}, "a scorer, or labels"),
        (StyleCorrelation, {"scorer": TONE, "channels": 0}, "at least 1"),
        (StyleGradient, {"scorer": TONE, "count": 0}, "at least 1"),
        (StyleGradient, {"scorer": TONE, "keep": [TONE]}, "different names"),
        (StyleGradient, {"scorer": TONE, "layers": ["L7"]}, "L7"),
        (
            StyleGradient,
            {"scorer": Scorer(name="still", unit="", measure=lambda i: i.detach()[:, 0, 0, 0])},
            "'still' has no gradient; search with StyleCorrelation",
        ),
        (StyleGradient, {"scorer": pixel("nan", 0, weights=[float("nan")])}, "NaN"),
        (StyleCorrelation, {"scorer": pixel("corner", 7), "samples": 50}, "same"),
    ],
)
def test_bad_searches(method, options, message):
    with pytest.raises(DirectionError, match=message):
        find(StyledGenerator(resolution=8), method(**options))
