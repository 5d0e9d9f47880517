"""Directions made independent, limited to layers and named, on generators whose answers are worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from painter import pixel
from styled_generator import StyledGenerator

from directions import disentangle, naming, score
from directions.attributes import Scorer
from directions.bank import labelled
from directions.bars import failures
from directions.channels import channel_reach
from editkit.direction import Direction
from editkit.errors import DirectionError, GeneratorMismatchError

G = StyledGenerator(resolution=8)


SCORERS = (pixel("a", 0), pixel("b", 1), pixel("c", 2))  # w[0] and w[1] by row 1, w[2] by row 2


def make(name, vector, space="w", **options):
    if space != "s":
        vector = torch.tensor(vector)
    return Direction(name=name, vector=vector, space=space, generator=G.spec.id, **options)


@pytest.fixture(scope="module")
def against():
    return score.baseline(G, SCORERS, samples=500)


def test_the_leakage_matrix(against):
    found = disentangle.leakage_matrix(
        G, [make("a", [1.0, 0.5, 0.0, 0.0]), make("x", [0.0, 0.0, -1.0, 0.0])], SCORERS, against=against, samples=4
    )
    assert found.directions == ("a", "x") and found.scores == ("a", "b", "c") and found.targets == (0, 2)
    assert torch.allclose(found.leakage[0], torch.tensor([1.0, 0.5, 0.0]).double(), atol=0.06)
    assert torch.allclose(found.leakage[1], torch.tensor([0.0, 0.0, -1.0]).double(), atol=0.01)
    assert found.worst == pytest.approx(0.5, abs=0.06)
    lines = found.table().splitlines()
    assert len(lines) == 3 and "[+1.00]" in lines[1] and "[-1.00]" in lines[2] and lines[0].split() == ["a", "b", "c"]
    other = disentangle.leakage_matrix(
        G, [make("a", [1.0, 0.5, 0.0, 0.0])], SCORERS, against=against, samples=2, targets={"a": "b"}
    )
    assert other.worst == pytest.approx(2, rel=0.15)
    with pytest.raises(DirectionError, match="no score 'z'"):
        disentangle.leakage_matrix(
            G, [make("a", [1.0, 0.5, 0.0, 0.0])], SCORERS, against=against, samples=2, targets={"a": "z"}
        )
    with pytest.raises(DirectionError, match="needs directions"):
        disentangle.leakage_matrix(G, [], SCORERS, against=against)


def test_each_is_at_right_angles_to_all_the_others():
    mixed = [make("a", [1.0, 0.3, 0.1, 0.0]), make("b", [0.2, 1.0, 0.0, 0.0]), make("c", [0.0, 0.4, 1.0, 0.0])]
    found = disentangle.orthogonalised(G, mixed)
    before, after = (torch.stack([one.vector for one in group]) for group in (mixed, found))
    products = after @ before.T
    off = products[~torch.eye(3, dtype=torch.bool)]
    assert torch.allclose(off, torch.zeros(6), atol=1e-6) and (products.diagonal() > 0.3).all()
    assert [one.name for one in found] == ["a", "b", "c"] and "without b, c" in found[0].reference
    turned = disentangle.orthogonalised(G, mixed[::-1])[::-1]
    assert all(torch.allclose(x.vector, y.vector, atol=1e-6) for x, y in zip(found, turned, strict=True))
    assert found[0].strength == (-3.0, 3.0)


def test_a_range_that_was_cut_stays_cut() -> None:
    """It ends as far from a sample as before, whatever the unit, the sense and the space have become."""
    old = make("a", [1.0, 0.2, 0.0, 0.0], strength=(-0.5, 1.0))
    longer = make("a", [2.0, 0.4, 0.0, 0.0], strength=(-3.0, 3.0))
    assert disentangle.within(G, longer, old).strength == pytest.approx((-0.25, 0.5))
    assert disentangle.within(
        G, make("a", [-1.0, -0.2, 0.0, 0.0], strength=(-3.0, 3.0)), old
    ).strength == pytest.approx((-1.0, 0.5))
    assert disentangle.within(G, replace(longer, strength=(-0.1, 0.1)), old).strength == (-0.1, 0.1)
    rows = longer.on_layers([1], num_ws=3)  # a third of the rows
    assert disentangle.within(G, rows, old).strength == pytest.approx((-0.25 * 3**0.5, 0.5 * 3**0.5))
    styled = [
        make("s", {"L1": torch.tensor(v)}, "s", strength=s) for v, s in (([3.0, 1.0], (-2, 2)), ([6.0, 2.0], (-9, 9)))
    ]
    assert disentangle.within(G, styled[1], styled[0]).strength == pytest.approx((-1.0, 1.0))


def test_two_are_conditioned_as_the_paper_does():
    """n1 - (n1 . n2) n2 for unit vectors, section 2.3."""
    n1, n2 = (torch.nn.functional.normalize(torch.tensor(v), dim=0) for v in ([1.0, 2.0, 0, 1], [0.0, 1.0, 3.0, 0]))
    first, _ = disentangle.orthogonalised(G, [make("a", n1.tolist()), make("b", n2.tolist())])
    assert torch.allclose(first.vector, n1 - (n1 @ n2) * n2, atol=1e-6)


def test_orthogonal_in_the_other_spaces():
    row = make("a", [1.0, 1.0, 0.0, 0.0]).on_layers([1], num_ws=3)
    first, second = disentangle.orthogonalised(G, [row, make("b", [0.0, 1.0, 0.0, 0.0])])
    assert first.space == second.space == "w+"
    assert float((first.vector * torch.tensor([0.0, 1.0, 0.0, 0.0])).sum()) == pytest.approx(0, abs=1e-6)
    styled = [make("a", {"L1": torch.tensor([3.0, 1.0])}, "s"), make("b", {"L1": torch.tensor([0.0, 1.0])}, "s")]
    one, two = disentangle.orthogonalised(G, styled)
    assert torch.allclose(one.vector["L1"], torch.tensor([3.0, 0.0]), atol=0.01) and set(one.vector) == {"L1"}
    assert torch.allclose(
        two.vector["L1"] / two.vector["L1"][1], torch.tensor([-3.0, 1.0]), atol=0.4
    )  # deviations 3, 1


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ([make("a", [1.0, 0, 0, 0])], "at least two"),
        ([make("a", [1.0, 0, 0, 0]), make("b", {"L1": torch.ones(2)}, "s")], "do not go together"),
        ([make("a", [1.0, 0, 0, 0]), make("b", [2.0, 0, 0, 0])], "hardly anything of 'a' is left"),
        ([make("a", [1.0, 0, 0, 0]), make("b", [0, 1.0, 0, 0]), make("c", [1.0, 1.0, 0.01, 0])], "of 'a'"),
    ],
)
def test_what_cannot_be_orthogonalised(group, message):
    with pytest.raises(DirectionError, match=message):
        disentangle.orthogonalised(G, group)


def test_narrowing_finds_the_layer(against):
    """w[0] goes to score a through row 1, w[2] to score c through row 2: limited to row 1, nothing leaks."""
    steps = []
    found = disentangle.narrowed(
        G, make("a", [1.0, 0.0, 0.8, 0.0]), SCORERS, target="a", against=against, samples=4,
        on_progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert found.layers == (1,) and found.leakage == pytest.approx(0, abs=1e-4) and steps[-1][0] == steps[-1][1]
    assert found.direction.vector.abs().amax(1).nonzero()[:, 0].tolist() == [1]
    assert found.tried[1, 2][1] == pytest.approx(0.8, abs=0.08) and (2,) not in found.tried  # row 2 does not move a
    assert found.effect == pytest.approx(found.direction.strength[1], rel=0.1)  # a unit is a deviation
    styled = make("a", {"L1": torch.tensor([3.0, 0.0]), "L2": torch.tensor([4.0, 0.0])}, "s")
    assert disentangle.narrowed(G, styled, SCORERS, target="a", against=against, samples=4).layers == ("L1",)
    for target, kept in (("z", 0.8), ("a", 0.0), ("a", 1.5)):
        with pytest.raises(DirectionError, match="narrowing needs"):
            disentangle.narrowed(G, styled, SCORERS, target=target, against=against, kept=kept)
    with pytest.raises(DirectionError, match="no range of layers of 'b' moves a"):
        disentangle.narrowed(G, make("b", [0.0, 0.0, 0.0, 1.0]), SCORERS, target="a", against=against, samples=2)


def test_directions_in_s_stay_within_the_reach_of_their_channels():
    """One channel of a layer whose other one varies ten times as much: the layer alone would allow far more."""
    wide = StyledGenerator(resolution=8, name="wide")
    wide.matrices["L1"][1, 1] = 30.0
    noisy = Scorer(name="a", unit="", measure=lambda images: images[:, 0, 0, :2] @ torch.tensor([1.0, 0.1]))
    seen = score.baseline(wide, [noisy], samples=500)
    pair = [
        Direction(name=name, vector=vector, space="s", generator=wide.spec.id)
        for name, vector in (("a", {"L1": torch.tensor([3.0, 0])}), ("c", {"L2": torch.tensor([5.0, 0])}))
    ]
    found = disentangle.narrowed(wide, pair[0], [noisy], target="a", against=seen, samples=4).direction
    assert 0 < found.strength[1] <= channel_reach(wide, found) + 0.1
    for one in disentangle.orthogonalised(wide, pair):
        assert one.strength[1] <= channel_reach(wide, one) + 1e-6


def bank(samples=200):
    """w[0], and something that has nothing to do with w."""
    noise = Scorer(name="noise", unit="", measure=lambda images: (1e4 * images[:, 0, 0, :3].sum(1)) % 1)
    return labelled(G, [pixel("first", 0), noise], samples=samples)


def test_names_by_correlation():
    group = [
        make("pca-0", [-2.0, 0, 0, 0], strength=(-1, 2), scores={"effect:first": -2.0, "kept": 0.5}),
        make("pca-1", [0, 1.0, 0, 0]),
        make("pca-2", [1.0, 0, 0, 0]),
    ]
    group.append(make("s-0", {"L1": torch.tensor([1.0, 0.0])}, "s"))
    group.append(make("pca-4", [1.0, 0, 0, 0]).on_layers([1], num_ws=3))
    found = naming.proposals(G, group, bank())
    assert [(one.name, one.sign) for one in found] == [
        ("first", -1), ("pca-1", 1), ("first", 1), ("first", 1), ("first", 1)
    ]  # fmt: skip
    assert found[0].correlations["first"] == pytest.approx(-1) and abs(found[1].correlations["first"]) < 0.3
    assert found[3].correlations["first"] == pytest.approx(1)
    assert found[0].line.startswith("pca-0: first (-1.00), then noise") and "no name" in found[1].line
    own = naming.proposals(G, [make("first", [1.0, 0, 0, 0])], bank())[0]
    assert own.fits and own.line.startswith("first: first (+1.00)")  # it has the name that fits already
    named = naming.renamed(group, found)
    assert [one.name for one in named] == ["first", "pca-1", "first-2", "first-3", "first-4"]
    assert torch.equal(named[0].vector, torch.tensor([2.0, 0, 0, 0])) and named[0].strength == (-2.0, 1.0)
    assert named[0].scores["effect:first"] == 2.0 and named[0].scores["kept"] == 0.5  # turned with the vector
    assert named[0].scores["correlation:first"] == pytest.approx(-1) and named[0].reference.startswith("pca-0")


def test_names_need_a_bank_of_this_generator():
    group = [make("pca-0", [1.0, 0, 0, 0])]
    with pytest.raises(DirectionError, match="at least 3"):
        naming.proposals(G, group, bank(samples=2))
    with pytest.raises(GeneratorMismatchError):
        naming.proposals(StyledGenerator(name="other"), group, bank())


def test_a_turned_direction_has_its_halves_the_other_way_round():
    scores = {"effect:warmth": 1.0, "low:warmth": 1.0, "high:warmth": 1.5, "leakage": 0.1, "monotonicity": 1.0}
    one = Direction(
        name="pca-0", vector=torch.ones(4), space="w", generator="x", scores=scores, strength=(-2, 1), target="warmth"
    )
    proposal = naming.Proposal(direction="pca-0", name="cold", fits=True, sign=-1, correlations={"warmth": -0.9})
    (new,) = naming.renamed([one], [proposal])
    assert new.strength == (-1, 2) and new.scores["low:warmth"] == -1.5 and new.scores["high:warmth"] == -1.0
    assert new.scores["effect:warmth"] == -1.0 and new.scores["leakage"] == 0.1


def test_a_name_of_another_score_needs_another_judgement():
    scores = {"effect:warmth": 4.0, "low:warmth": 4.0, "high:warmth": 4.5, "effect:yaw": 1.1, "low:yaw": -1.1}
    scores |= {"leakage": 0.28, "monotonicity": 1.0}
    one = Direction(name="pca-0", vector=torch.ones(4), space="w", generator="x", scores=scores)
    for name, missed in (("yaw", ("it was never judged",)), ("warmth", ())):
        proposal = naming.Proposal(direction="pca-0", name=name, fits=True, sign=1, correlations={name: 0.5})
        (new,) = naming.renamed([one], [proposal])
        assert new.name == name and failures(new) == missed
