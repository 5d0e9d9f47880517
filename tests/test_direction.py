"""Directions: shape, range, generator, placement, files."""

import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from linear_generator import LinearGenerator

from editkit.direction import Direction
from editkit.errors import DirectionError, GeneratorMismatchError, OutputError, SchemaError
from editkit.seeds import normal

G = LinearGenerator()
VECTORS = {
    "w": normal(0, (4,)),
    "w+": normal(1, (3, 4)),
    "s": {"input": normal(2, (4,)), "L0.conv": normal(3, (6,))},
}


def make(space="w", **changes):
    vector = VECTORS.get(space)
    options = {"name": "warmth", "vector": vector, "space": space, "generator": G.spec.id, **changes}
    return Direction(**options)


@pytest.mark.parametrize("space", ["w", "w+", "s"])
def test_save_and_load(tmp_path, space):
    full = make(
        space,
        strength=(-1.5, 2),
        unit="one sd",
        method="ganspace",
        reference="here",
        scores={"effect:warmth": 1.25},
        target="warmth",
    )
    full.save(tmp_path / "warmth.safetensors")
    again = Direction.load(tmp_path / "warmth.safetensors")
    assert again.header() == full.header()
    assert again.strength == (-1.5, 2.0) and again.scores == {"effect:warmth": 1.25} and again.target == "warmth"
    a, b = full.named_tensors(), again.named_tensors()
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_touching_placement():
    assert make("w").touches_placement
    assert make("w+").touches_placement
    assert not make("w+").on_layers([1, 2]).touches_placement
    assert make("s").touches_placement
    assert not make("s").on_layers(["L0.conv"]).touches_placement


def test_restriction_to_layers():
    part = make("w").on_layers([2], num_ws=3)
    assert part.space == "w+" and torch.equal(part.vector[2], VECTORS["w"]) and not part.vector[:2].any()
    assert torch.equal(make("w+").on_layers(range(3)).vector, VECTORS["w+"])
    assert list(make("s").on_layers("input").vector) == ["input"]
    with pytest.raises(DirectionError, match="num_ws"):
        make("w").on_layers([0])
    with pytest.raises(DirectionError, match="no layer 3"):
        make("w+").on_layers([3])
    with pytest.raises(DirectionError, match="zero everywhere"):
        make("w+").on_layers([])


def test_generators_and_shapes():
    other = LinearGenerator(name="other").spec
    with pytest.raises(GeneratorMismatchError, match=f"{G.spec.id[:12]}.*{other.id[:12]}"):
        make().check(other)
    assert make().check(G.spec).check(LinearGenerator(name="half", parent_id=G.spec.id).spec)
    with pytest.raises(DirectionError, match=r"is \[4\].*needs \[5\]"):
        make().check(replace(G.spec, w_dim=5))
    with pytest.raises(DirectionError, match=r"is \[3, 4\].*needs \[2, 4\]"):
        make("w+").check(replace(G.spec, num_ws=2))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "../escape"},
        {"name": "a/b"},
        {"name": "x" * 65},
        {"name": 3},
        {"generator": ""},
        {"space": "z", "vector": torch.ones(4)},
        {"vector": torch.zeros(4)},
        {"vector": torch.tensor([1.0, float("nan")])},
        {"vector": torch.ones(4).int()},
        {"vector": torch.ones(3, 4)},
        {"vector": [1.0]},
        {"strength": 3},
        {"space": "s", "vector": torch.ones(4)},
        {"space": "s", "vector": {}},
        {"space": "s", "vector": {"a": torch.ones(1, 2)}},
        {"strength": (1, 2)},
        {"strength": (-1, float("inf"))},
        {"strength": (1,)},
        {"scores": {"x": float("nan")}},
        {"scores": {"x": "high"}},
    ],
)
def test_bad_parts(changes):
    with pytest.raises(DirectionError):
        make(**changes)


def rewritten(path, **change):
    make().save(path)
    data = path.read_bytes()
    header = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["editkit"])
    header.update(change)
    path.write_bytes(safetensors.torch.save({"w": VECTORS["w"]}, metadata={"editkit": json.dumps(header)}))
    return path


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"schema": 2, "written_by": "7.0.0"}, SchemaError, r"install editkit 7\.0\.0"),
        ({"kind": "latent"}, DirectionError, "'latent' file where a direction"),
        ({"space": "w+"}, DirectionError, "w\\+"),
        ({"strength": None}, DirectionError, "wrong one"),
        ({"strength": ["a", 1]}, DirectionError, "strength"),
        ({"scores": [1]}, DirectionError, "wrong one"),
        ({"scores": None}, DirectionError, "wrong one"),
        ({"name": "../x"}, DirectionError, "name has letters"),
        ({"generator": 5}, DirectionError, "id of its generator"),
    ],
)
def test_wrong_files(tmp_path, change, error, words):
    with pytest.raises(error, match=words):
        Direction.load(rewritten(tmp_path / "a", **change))


def test_missing_and_unwritable(tmp_path):
    with pytest.raises(DirectionError, match="no such file"):
        Direction.load(tmp_path / "none")
    with pytest.raises(OutputError):
        make().save(tmp_path / "no" / "a")
