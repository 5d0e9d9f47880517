"""PCA of W finds what was put in; the figures that judge a direction are those of a case worked out by hand."""

import pytest
import torch
from linear_generator import LinearGenerator
from painter import SCORERS, Painter, no_bundled_directions

import directions
from directions import catalog, ganspace, score
from directions.attributes import Scorer
from directions.methods import find
from directions.strips import strip
from editkit.direction import Direction
from editkit.edits import Edit, Recipe, apply_edits
from editkit.errors import DirectionError, GeneratorMismatchError
from editkit.generator import random_generator
from editkit.seeds import z_from_seeds


def test_components_are_the_axes_of_w():
    G = Painter()
    found = ganspace.components(G, samples=4000)
    assert len(found) == 4 and found.samples == 4000 and found.generator == G.spec.id
    expected = torch.eye(4, dtype=torch.float64)[[0, 2, 1, 3]]
    assert torch.allclose(found.vectors.abs(), expected, atol=0.05)
    assert found.deviations.tolist() == pytest.approx([3, 2, 1, 0.1], rel=0.05)
    assert torch.allclose(found.vectors @ found.vectors.T, torch.eye(4, dtype=torch.float64), atol=1e-10)
    assert (found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True)) > 0).all()
    assert float(found.explained.sum()) == pytest.approx(1.0)
    assert torch.allclose(found.mean, G.w_avg.double(), atol=0.2)


def test_components_equal_a_plain_pca_whatever_the_batch():
    G = LinearGenerator(w_dim=4)
    w = G.map(z_from_seeds(range(7, 207), 4)).tensor[:, 0].double()
    centred = w - w.mean(dim=0)
    _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
    for batch in (200, 33):
        found = ganspace.components(G, samples=200, seed=7, batch=batch, count=3)
        assert torch.allclose(found.deviations, singular[:3] / 199**0.5, rtol=1e-6)
        assert torch.allclose((found.vectors * rows[:3]).sum(dim=1).abs(), torch.ones(3, dtype=torch.float64))
        assert torch.allclose(found.mean, w.mean(dim=0))


@pytest.mark.parametrize("options", [{"samples": 4}, {"count": 0}, {"count": 5}, {"batch": 0}])
def test_components_of_bad_numbers(options):
    with pytest.raises(DirectionError):
        ganspace.components(Painter(), **{"samples": 100, **options})


def test_components_of_a_damaged_mapping():
    G = Painter()
    G.scales[0] = float("nan")
    with pytest.raises(DirectionError, match="NaN"):
        ganspace.components(G, samples=100)


def test_a_component_is_a_direction_of_one_deviation():
    G = Painter()
    found = ganspace.components(G, samples=500)
    whole = ganspace.direction(G, found, 0)
    assert whole.name == "pca-0" and whole.space == "w" and whole.method == "ganspace"
    assert float(whole.vector.norm()) == pytest.approx(float(found.deviations[0]), rel=1e-5)
    assert whole.scores["explained"] > 0.6
    part = ganspace.direction(G, found, 1, layers=[1, 2], name="tone")
    assert part.name == "tone" and part.space == "w+" and not part.touches_placement
    with pytest.raises(DirectionError, match="component 4 is not among 0 to 3"):
        ganspace.direction(G, found, 4)
    with pytest.raises(GeneratorMismatchError):
        ganspace.direction(Painter(name="other"), found, 0)
    flat = Painter()
    flat.scales[3] = 0.0
    with pytest.raises(DirectionError, match="does not vary"):
        ganspace.direction(flat, ganspace.components(flat, samples=500), 3)


def test_the_method_object():
    found = find(Painter(), ganspace.GanSpace(count=2, samples=500, layers=[1]))
    assert [one.name for one in found] == ["pca-0", "pca-1"] and not found[0].vector[0].any()


def test_effects_are_slopes_in_deviations():
    G = Painter()
    against = score.baseline(G, SCORERS, samples=2000)
    assert against.deviation["first"] == pytest.approx(3, rel=0.05)
    assert against.deviation["second"] == pytest.approx(3.25**0.5, rel=0.05)
    push = Direction(name="x", vector=torch.tensor([-3.0, 0, 0, 0]), space="w", generator=G.spec.id)
    seen = score.measure(G, push, SCORERS, against=against, samples=4)
    assert seen.effects["first"] == pytest.approx(-1, rel=0.05)
    assert seen.effects["second"] == pytest.approx(-1.5 / 3.25**0.5, rel=0.05)
    assert seen.effects["third"] == pytest.approx(0, abs=1e-6)
    assert seen.monotonicity["first"] == 1.0 and seen.strengths == (-3.0, -1.5, 0.0, 1.5, 3.0) and seen.samples == 4
    assert seen.target == "first"
    assert seen.worst_leakage() == pytest.approx(seen.leakage()["second"]) == pytest.approx(0.832, rel=0.05)
    assert set(seen.leakage("second")) == {"first", "third"}
    figures = seen.as_scores()
    assert figures["effect:first"] == pytest.approx(-1, rel=0.05) and figures["monotonicity"] == 1.0
    with pytest.raises(DirectionError, match="no score 'fifth'"):
        seen.leakage("fifth")


def test_monotonicity_counts_samples():
    G = Painter()
    bump = Scorer(name="bump", unit="", measure=lambda images: (images[:, 0, 0, 0] - G.w_avg[0]).clamp(max=0.0))
    against = score.baseline(G, (bump,), samples=500)
    push = Direction(name="x", vector=torch.tensor([0.01, 0, 0, 0]), space="w", generator=G.spec.id)
    seen = score.measure(G, push, (bump,), against=against, samples=200)
    assert 0.4 < seen.monotonicity["bump"] < 0.6  # half of the samples are clamped


def test_bad_measurements():
    G = Painter()
    against = score.baseline(G, SCORERS)
    push = Direction(name="x", vector=torch.ones(4), space="w", generator=G.spec.id)
    nothing = Scorer(name="nothing", unit="", measure=lambda images: torch.ones(len(images)))
    with pytest.raises(DirectionError, match="no score varies"):
        score.baseline(G, (nothing,))
    assert "nothing" not in score.baseline(G, (nothing, *SCORERS)).deviation
    broken = Scorer(name="broken", unit="", measure=lambda images: images[:, 0, 0, 0] * float("nan"))
    with pytest.raises(DirectionError, match="'broken' gives NaN"):
        score.baseline(G, (broken,))
    with pytest.raises(DirectionError, match="at least 2"):
        score.baseline(G, SCORERS, samples=1)
    with pytest.raises(DirectionError, match="other than 0"):
        score.measure(G, push, SCORERS, against=against, strengths=[0.0])
    with pytest.raises(DirectionError, match="third"):
        score.measure(G, push, SCORERS[:2], against=against)
    with pytest.raises(DirectionError, match="another generator"):
        score.measure(Painter(name="half", parent_id=G.spec.id), push, SCORERS, against=against)
    with pytest.raises(GeneratorMismatchError):
        score.measure(Painter(name="other"), push, SCORERS, against=against)


def test_default_scorers_without_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(score, "bundled_weights", lambda: tmp_path / "none")
    assert [one.name for one in score.default_scorers()] == [
        "brightness",
        "contrast",
        "sharpness",
        "warmth",
        "tint",
        "saturation",
        "background",
    ]


def test_catalogue(tmp_path):
    G = Painter()
    warmth = Direction(name="warmth", vector=torch.ones(4), space="w", generator=G.spec.id)
    assert directions.names(G) == ()
    with pytest.raises(DirectionError, match="no directions are at hand for 'linear'"):
        directions.load(G, "warmth")
    assert catalog.save(G, warmth) == tmp_path / "home" / "directions" / G.spec.id[:12] / "warmth.safetensors"
    yaw = Direction(name="yaw", vector=torch.ones(4), space="w", generator=G.spec.id)
    catalog.save(G, yaw, folder=tmp_path / "bundled")
    assert directions.names(G) == ("warmth", "yaw")
    assert directions.load(G, "yaw").name == "yaw"
    with pytest.raises(DirectionError, match="no direction 'warmt' for 'linear'; there are: warmth, yaw"):
        directions.load(G, "warmt")
    with pytest.raises(DirectionError, match="there are: yaw, warmth"):
        directions.load(G, "yew")
    with pytest.raises(DirectionError, match=r"no direction '\.\./yaw'"):
        directions.load(G, "../yaw")
    half = Painter(name="half", parent_id=G.spec.id)
    assert directions.names(half) == ("warmth", "yaw") and directions.load(half, "yaw")
    assert directions.names(Painter(name="other")) == ()
    with pytest.raises(GeneratorMismatchError):
        catalog.save(Painter(name="other"), yaw)


def test_the_users_own_come_first(tmp_path):
    G = Painter()
    for root, size in ((tmp_path / "bundled", 1.0), (None, 2.0)):
        one = Direction(name="yaw", vector=torch.full((4,), size), space="w", generator=G.spec.id)
        catalog.save(G, one, folder=root)
    assert float(directions.load(G, "yaw").vector[0]) == 2.0


def test_a_file_in_the_wrong_place(tmp_path):
    G, other = Painter(), Painter(name="other")
    one = Direction(name="yaw", vector=torch.ones(4), space="w", generator=other.spec.id)
    path = catalog.save(other, one)
    (path.parent.parent / G.spec.id[:12]).mkdir()
    path.rename(path.parent.parent / G.spec.id[:12] / "yaw.safetensors")
    with pytest.raises(GeneratorMismatchError):
        directions.load(G, "yaw")


def test_resolving_a_recipe():
    G = Painter()
    yaw = Direction(name="yaw", vector=torch.ones(4), space="w", generator=G.spec.id)
    catalog.save(G, yaw)
    named = Recipe.from_json(Recipe(name="r", edits=[Edit(yaw, 1.5, layers=[1])]).to_json(embed=False))
    resolved = directions.resolve(G, named)
    assert torch.equal(resolved.edits[0].direction.vector, yaw.vector)
    assert (resolved.edits[0].strength, resolved.edits[0].layers) == (1.5, (1,))
    with pytest.raises(GeneratorMismatchError, match="recipe 'r'"):
        directions.resolve(Painter(name="other"), named)
    with pytest.raises(DirectionError, match="there are: yaw"):
        directions.resolve(G, Recipe(name="r", edits=[Edit("roll", 1.0)]))


def test_a_real_network_end_to_end(tmp_path):
    """Components of an untrained StyleGAN3, measured, kept and loaded for a tuned copy's parent."""
    G = random_generator(seed=1, resolution=16)
    found = find(G, ganspace.GanSpace(count=2, samples=200))
    scorers = score.default_scorers(faces=False)
    seen = score.measure(G, found[0], scorers, against=score.baseline(G, scorers, samples=16), samples=2)
    assert set(seen.effects) <= {one.name for one in scorers} and seen.effects[seen.target] != 0
    catalog.save(G, found[0])
    loaded = directions.load(G, "pca-0")
    edited = apply_edits(G.map(z_from_seeds([0], G.spec.z_dim)), Edit(loaded, 1.0))
    assert edited.check(G.spec).space == "w+"
    assert strip(G, loaded, edited, steps=3).shape == (3, 16 + 4, 3 * 18 + 2)
