"""Edits add up, zero is the identity, and nothing foreign gets in."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_generator import LinearGenerator

from editkit.direction import Direction
from editkit.edits import Edit, Recipe, apply_edits, mix
from editkit.errors import DirectionError, GeneratorMismatchError, LatentError, OutputError, RecipeError, SchemaError
from editkit.latent import Latent
from editkit.seeds import normal, z_from_seeds
from editkit.transform import Transform

G = LinearGenerator()
ID = G.spec.id
W = Direction(name="warmth", vector=normal(0, (4,)), space="w", generator=ID)
PLUS = Direction(name="yaw", vector=normal(1, (3, 4)), space="w+", generator=ID, strength=(-2, 2), scores={"a": 0.5})
S = Direction(name="age", vector={"L0": normal(2, (5,))}, space="s", generator=ID)
CODES = torch.tensor([0.0, -0.0, 1e-38, -3.0]).expand(2, 3, 4).clone()
LATENT = Latent(space="w+", codes=CODES, generator=ID)
STYLES = Latent(space="s", codes={"L0": normal(5, (2, 5)), "L1": normal(6, (2, 2))}, generator=ID)


def bits(tensor):
    return tensor.contiguous().view(torch.int32)


@given(st.sampled_from([W, PLUS]), st.one_of(st.none(), st.sets(st.integers(0, 2))))
@settings(max_examples=20, deadline=None)
def test_zero_strength_keeps_every_bit(direction, layers):
    edited = apply_edits(LATENT, [Edit(direction, 0.0, layers=layers), Edit(direction, -0.0)])
    assert torch.equal(bits(edited.tensor), bits(CODES)) and edited.space == "w+"
    assert apply_edits(STYLES, Edit(S, 0)).styles["L0"] is STYLES.styles["L0"]


def test_edits_add_up():
    edited = apply_edits(LATENT, [Edit(W, 2.0), Edit(PLUS, -0.5)]).tensor
    assert torch.allclose(edited, CODES + 2 * W.vector - 0.5 * PLUS.vector)
    assert torch.equal(LATENT.tensor, CODES)  # the input is not changed
    back = apply_edits(apply_edits(LATENT, Edit(PLUS, 1.5)), Edit(PLUS, -1.5))
    assert torch.allclose(back.tensor, CODES, atol=1e-6)


def test_w_becomes_w_plus():
    w = G.map(z_from_seeds([0], 4))
    assert apply_edits(w, []).space == "w+"
    assert torch.allclose(apply_edits(w, Edit(W, 1.0)).tensor, w.tensor + W.vector)


@pytest.mark.parametrize("direction", [W, PLUS])
def test_layers_limit_an_edit(direction):
    edited = apply_edits(LATENT, Edit(direction, 1.0, layers=[1])).tensor
    assert torch.equal(bits(edited[:, [0, 2]]), bits(CODES[:, [0, 2]]))
    row = direction.vector if direction.space == "w" else direction.vector[1]
    assert torch.allclose(edited[:, 1], CODES[:, 1] + row)
    with pytest.raises(LatentError, match="no layer 3"):
        apply_edits(LATENT, Edit(direction, 1.0, layers=[3]))
    with pytest.raises(LatentError, match="no layer 'L0'"):
        apply_edits(LATENT, Edit(direction, 0.0, layers=["L0"]))


def test_style_space():
    edited = apply_edits(STYLES, Edit(S, 2.0))
    assert torch.allclose(edited.styles["L0"], STYLES.styles["L0"] + 2 * S.vector["L0"])
    assert torch.equal(edited.styles["L1"], STYLES.styles["L1"])
    assert torch.equal(apply_edits(STYLES, Edit(S, 2.0, layers=["L1"])).styles["L0"], STYLES.styles["L0"])
    elsewhere = Direction(name="x", vector={"L7": torch.ones(1)}, space="s", generator=ID)
    with pytest.raises(LatentError, match="no layer 'L7'"):
        apply_edits(STYLES, Edit(elsewhere, 1.0))
    wrong = Direction(name="x", vector={"L0": torch.ones(2)}, space="s", generator=ID)
    with pytest.raises(DirectionError, match=r"\[2\] in layer 'L0', the latent \[5\]"):
        apply_edits(STYLES, Edit(wrong, 1.0))


def test_spaces_are_not_mixed_up():
    with pytest.raises(LatentError, match="'age' is in s and cannot be added to a latent in w\\+"):
        apply_edits(LATENT, Edit(S, 1.0))
    with pytest.raises(LatentError, match="'warmth' is in w and cannot be added to a latent in s"):
        apply_edits(STYLES, Edit(W, 1.0))
    with pytest.raises(LatentError, match="one in z; map it first"):
        apply_edits(Latent(space="z", codes=torch.ones(1, 4), generator=ID), Edit(W, 1.0))
    short = Direction(name="x", vector=torch.ones(1), space="w", generator=ID)
    with pytest.raises(DirectionError, match=r"is \[1\], this latent needs \[4\]"):
        apply_edits(LATENT, Edit(short, 1.0))


def test_foreign_generators_are_refused():
    foreign = Direction(name="x", vector=torch.ones(4), space="w", generator="b" * 64)
    with pytest.raises(GeneratorMismatchError, match=f"bbbbbbbbbbbb.*{ID[:12]}"):
        apply_edits(LATENT, Edit(foreign, 0.0))
    with pytest.raises(GeneratorMismatchError, match="several generators"):
        Recipe(name="r", edits=[Edit(foreign, 1.0), Edit(W, 1.0)])
    tuned = LinearGenerator(name="tuned", parent_id=ID)
    assert apply_edits(tuned.map(torch.ones(1, 4)), Edit(W, 1.0))  # directions of the parent go


def test_mix_is_style_mixing():
    other = Latent(space="w+", codes=CODES + 1, generator=ID)
    mixed = mix(LATENT, other, [0]).tensor
    assert torch.equal(mixed[:, 0], other.tensor[:, 0]) and torch.equal(bits(mixed[:, 1:]), bits(CODES[:, 1:]))


def recipe():
    edits = [Edit(W, 2), Edit(PLUS, -1.5, layers=range(1, 3)), Edit(S, 0.1, layers="L0")]
    return Recipe(name="postcard", edits=edits, transform=Transform.rotate(10))


def test_sequences_are_coerced():
    made = recipe()
    assert isinstance(made.edits, tuple) and made.edits[1].layers == (1, 2) and made.edits[2].layers == ("L0",)
    assert made.generator == ID
    assert Recipe(name="one", edits=Edit(W, 1.0)).edits == (Edit(W, 1.0),)


def test_recipes_embed_their_vectors(tmp_path):
    recipe().save(tmp_path / "r.json")
    again = Recipe.load(tmp_path / "r.json")
    assert again.name == "postcard" and again.generator == ID and len(again.edits) == 3
    assert torch.equal(again.transform.matrix, recipe().transform.matrix)
    for a, b in zip(recipe().edits, again.edits, strict=True):
        assert (a.strength, a.layers, a.direction.header()) == (b.strength, b.layers, b.direction.header())
        one, two = a.direction.named_tensors(), b.direction.named_tensors()
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert again.to_json() == recipe().to_json()


def test_recipes_may_only_name(tmp_path):
    recipe().save(tmp_path / "r.json", embed=False)
    again = Recipe.load(tmp_path / "r.json")
    assert [edit.direction for edit in again.edits] == ["warmth", "yaw", "age"] and again.generator == ID
    assert (tmp_path / "r.json").stat().st_size < 1500
    with pytest.raises(RecipeError, match=r"'warmth' only names its direction.*directions\.resolve"):
        apply_edits(LATENT, again)


def test_bad_edits():
    for strength in (float("nan"), float("inf"), "2", None, True):
        with pytest.raises(RecipeError, match="strength"):
            Edit(W, strength)
    with pytest.raises(RecipeError, match="Direction or its name"):
        Edit(W.vector, 1.0)
    with pytest.raises(RecipeError, match="layers"):
        Edit(W, 1.0, layers=[1.5])
    with pytest.raises(RecipeError, match="Edit objects"):
        Recipe(name="r", edits=[W])
    with pytest.raises(TypeError):
        Edit(W, 1.0, [0])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"schema": 2, "written_by": "3.0.0"}, SchemaError, r"install editkit 3\.0\.0"),
        ({"schema": None}, SchemaError, "schema"),
        ({"kind": "latent"}, RecipeError, "a recipe is needed"),
        ({"edits": 5}, RecipeError, "wrong one"),
        ({"edits": [5]}, RecipeError, "wrong one"),
        ({"edits": [{"direction": "a"}]}, RecipeError, "'strength'"),
        ({"edits": [{"direction": "a", "strength": "x"}]}, RecipeError, "strength"),
        ({"edits": [{"direction": "", "strength": 1}]}, RecipeError, "name"),
        ({"transform": [[1]]}, RecipeError, "transform"),
    ],
)
def test_bad_recipes(change, error, words):
    document = {**json.loads(recipe().to_json()), **change}
    if change.get("kind"):
        words = "file where a recipe is needed"
    with pytest.raises(error, match=words):
        Recipe.from_json(json.dumps(document), source="r.json")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"shape": [4], "data": "!"}, "base64"),
        ({"shape": [4], "data": "AAAA"}, "3 bytes"),
        ({"shape": [2**40], "data": ""}, "0 bytes"),
        ({"shape": [-1], "data": ""}, "0 bytes"),
        ({"shape": "x", "data": ""}, "0 bytes"),
        ({"shape": [1], "data": "AADAfw=="}, "NaN"),
        ({}, "lacks a part"),
    ],
)
def test_bad_vectors(part, words):
    document = json.loads(recipe().to_json())
    document["edits"][0]["direction"]["vector"]["w"] = part
    with pytest.raises(RecipeError, match=words):
        Recipe.from_json(json.dumps(document))


def test_text_that_is_no_recipe(tmp_path):
    for text in ("", "{", "[]", "NaN", '{"schema": NaN}', "[" * 100_000):
        with pytest.raises(RecipeError):
            Recipe.from_json(text)
    with pytest.raises(RecipeError, match="no such file"):
        Recipe.load(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.load(tmp_path / "bytes")
    with pytest.raises(OutputError):
        recipe().save(tmp_path / "no" / "r.json")
