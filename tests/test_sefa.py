"""SeFa finds the directions that change styles most: against a search, a known factorisation, and three networks."""

from __future__ import annotations

import pytest
import torch
from linear_generator import LinearGenerator
from styled_generator import StyledGenerator

from directions import find
from directions.affine import content_rows, in_rows, style_matrices, style_rows
from directions.sefa import SeFa, factorise
from editkit.direction import Direction
from editkit.edits import Edit, apply_edits, as_styles
from editkit.errors import DirectionError
from editkit.generator import random_generator
from editkit.rendering import render
from editkit.sampling import sample_w
from editkit.seeds import normal

KINDS = ("stylegan3", "stylegan2", "stylegan_xl")


@pytest.mark.parametrize("kind", KINDS)
def test_style_matrices_are_the_affine_maps(kind):
    G = random_generator(seed=1, kind=kind, resolution=16)
    w = sample_w(G, [0, 1])
    step = normal(5, (2, G.spec.num_ws, G.spec.w_dim))
    matrices, rows = style_matrices(G), style_rows(G)
    before = as_styles(w, G).styles
    from dataclasses import replace

    after = as_styles(replace(w, space="w+", codes=w.tensor + step), G).styles
    assert list(matrices) == list(rows) == list(before)
    for name, matrix in matrices.items():
        expected = step[:, rows[name]].double() @ matrix.T
        assert torch.allclose((after[name] - before[name]).double(), expected, atol=1e-4), name


def test_a_direction_in_s_is_the_same_one_in_rows_of_w_plus():
    G = random_generator(seed=1, resolution=16)
    widths = {name: len(matrix) for name, matrix in style_matrices(G).items()}
    chosen = [name for name in widths if name != "input"][1:3]
    vector = {name: 0.3 * normal(7, (1, widths[name]))[0] for name in chosen}
    one = Direction(name="x", vector=vector, space="s", generator=G.spec.id, strength=(-1, 2))
    rows = in_rows(G, one)
    assert rows.space == "w+" and rows.strength == one.strength and not rows.touches_placement
    assert rows.vector.abs().amax(1).nonzero()[:, 0].tolist() == [style_rows(G)[name] for name in chosen]
    w = sample_w(G, [0, 1])
    there, here = (render(G, apply_edits(w, Edit(way, 2.0), generator=G)) for way in (one, rows))
    assert torch.allclose(there, here, atol=1e-4) and not torch.allclose(there, render(G, w), atol=1e-2)


def test_a_direction_in_s_that_no_row_makes_stays_there():
    G = StyledGenerator()
    G.matrices["L1"][1, 0], G.matrices["L1"][1, 1] = 2.0, 0.0  # both channels follow w[0]
    for vector, there in (({"L1": [3.0, 2.0]}, True), ({"L1": [1.0, 0.0]}, False), ({"L2": [1.0, 0.0]}, True)):
        steps = {name: torch.tensor(part) for name, part in vector.items()}
        one = Direction(name="x", vector=steps, space="s", generator=G.spec.id)
        assert (in_rows(G, one) is not None) == there
    with pytest.raises(DirectionError, match="StyleSpace"):
        in_rows(LinearGenerator(), one)


@pytest.mark.parametrize("kind", KINDS)
def test_no_unit_vector_changes_styles_more(kind):
    G = random_generator(seed=1, kind=kind, resolution=16)
    found = factorise(G, count=3, rows=[2, 3])
    stacked = torch.cat([m for name, m in style_matrices(G).items() if style_rows(G)[name] in (2, 3)])
    others = torch.nn.functional.normalize(normal(3, (500, G.spec.w_dim)).double(), dim=1)
    assert float((others @ stacked.T).norm(dim=1).max()) < float(found.gains[0])
    rest = others - (others @ found.vectors[0])[:, None] * found.vectors[0]  # at right angles to the first
    rest = torch.nn.functional.normalize(rest, dim=1)
    assert float((rest @ stacked.T).norm(dim=1).max()) < float(found.gains[1])
    assert torch.allclose((found.vectors @ stacked.T).norm(dim=1), found.gains)
    assert torch.allclose(found.vectors @ found.vectors.T, torch.eye(3, dtype=torch.float64), atol=1e-10)


def test_a_known_factorisation():
    G = StyledGenerator()
    found = factorise(G, count=4)
    assert torch.allclose(found.vectors.abs(), torch.eye(4, dtype=torch.float64)[[2, 0, 3, 1]], atol=1e-6)
    assert found.gains.tolist() == pytest.approx([5, 3, 2, 1])
    assert found.shares.tolist() == pytest.approx([25 / 39, 9 / 39, 4 / 39, 1 / 39])
    assert factorise(G, count=1, rows=[1]).gains.tolist() == pytest.approx([3])  # that of the first layer alone


def test_directions_have_units_and_leave_the_placement_alone():
    G = StyledGenerator(scales=[0.5, 1.0, 2.0, 1.0])
    found = find(G, SeFa(count=2, samples=4000))
    assert [one.name for one in found] == ["sefa-0", "sefa-1"]
    assert found[0].vector[1:].norm(dim=1).tolist() == pytest.approx([2.0, 2.0], rel=0.05)  # deviation of w[2]
    assert found[1].vector[1:].norm(dim=1).tolist() == pytest.approx([0.5, 0.5], rel=0.05)
    assert not found[0].touches_placement and found[0].strength == (-3.0, 3.0)
    assert "rows 1-2" in found[0].reference
    whole = find(G, SeFa(count=1, samples=100, layers=(0, 1, 2)))[0]
    assert whole.space == "w" and whole.touches_placement


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_network(kind):
    G = random_generator(seed=1, kind=kind, resolution=16)
    first = find(G, SeFa(count=1, samples=100))[0].check(G.spec)
    assert first.space == ("w" if kind == "stylegan2" else "w+")  # StyleGAN2 has no placement
    assert content_rows(G, None) == list(range(0 if kind == "stylegan2" else 1, G.spec.num_ws))
    w = sample_w(G, [0])
    assert not torch.allclose(render(G, apply_edits(w, Edit(first, 2.0))), render(G, w), atol=1e-4)
    part = find(G, SeFa(count=1, samples=100, layers=[3]))[0]
    assert part.vector.abs().amax(1).nonzero()[:, 0].tolist() == [3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count is 1 to 4"),
        ({"count": 5}, "count is 1 to 4"),
        ({"layers": [3]}, "no layer 3"),
        ({"layers": []}, "no layers"),
        ({"samples": 4}, "take more than 4"),
        ({"count": 4, "flat": 1}, "does not vary along factor 3"),
        ({"layers": [0]}, "do not depend on w"),
        ({"damaged": True}, "damaged"),
    ],
)
def test_what_cannot_be_factorised(options, message):
    scales = [1.0] * 4
    if "flat" in options:
        scales[options.pop("flat")] = 0.0
    G = StyledGenerator(scales=scales)
    if options.pop("damaged", False):
        G.matrices["L1"][0, 0] = float("nan")
    with pytest.raises(DirectionError, match=message):
        find(G, SeFa(**{"samples": 100, "count": 1, **options}))


def test_a_generator_without_styles():
    with pytest.raises(DirectionError, match="no StyleSpace"):
        find(LinearGenerator(), SeFa(count=1, samples=100))
