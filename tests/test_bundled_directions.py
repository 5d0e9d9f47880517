"""What ships for the bundled generator: directions that pass the bars by their files, and a sample bank of its own."""

from __future__ import annotations

import time

import pytest
import torch

import directions
from directions import attributes, bank, find_cli
from directions.bank import SampleBank
from directions.bars import failures, target_of
from editkit.generator import load_generator
from editkit.rendering import render


@pytest.fixture(scope="module")
def G():
    return load_generator(device="cpu")


def test_every_bundled_direction_passes_the_bars(G):
    names = directions.names(G)
    assert len(names) >= 10 and directions.offered(G) == names
    for name in names:
        one, target = directions.load(G, name), name.split("-")[0]  # contrast-layer is for contrast
        assert target_of(one) == target and not failures(one) and not one.touches_placement
        assert one.strength[1] >= 1 and one.scores["effect:" + target] == pytest.approx(1, abs=0.02)
        assert 0 < one.scores["kept"] <= 1


def test_the_shipped_bank_knows_every_scorer_of_enough_samples(G):
    for name in find_cli.ATTRIBUTES:
        scorer = attributes.scorer(name)
        assert bank.known(G, [scorer]).scores, f"{name} is not in the bank: `editkit rebuild`"
        assert 4000 <= bank.usual_samples(G, [scorer]) < bank.SAMPLES


def test_with_it_a_boundary_is_found_in_under_a_minute(G):
    begun = time.process_time()
    (found,) = directions.find(G, directions.LinearSVM(scorer="age"))
    assert time.process_time() - begun < 60 and found.scores["accuracy"] > 0.9
    assert not bank.user_bank(G.spec.id).exists()  # nothing was labelled


def test_its_scores_are_those_of_the_generators_pictures(G):
    kept = SampleBank.load(bank.bundled_bank(G.spec.id)).check(G)
    pictures = render(G, kept.latents(G, count=6))
    found = attributes.label(pictures, [attributes.scorer(name) for name in find_cli.ATTRIBUTES])
    for name, scores in found.items():
        spread = float(kept.scores[name].std())
        assert torch.allclose(kept.scores[name][:6].double(), scores, rtol=0, atol=0.1 * spread), name
