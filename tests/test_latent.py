"""Latents know their generator and space, and every operation keeps its promise at the ends."""

import json
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from linear_generator import LinearGenerator

from editkit.errors import GeneratorMismatchError, LatentError, OutputError, SchemaError
from editkit.latent import Latent, concatenate
from editkit.latent_file import read_latent
from editkit.seeds import normal, z_from_seeds
from editkit.transform import Transform

G = LinearGenerator()
ID = G.spec.id


def z_latent(*seeds):
    return Latent(space="z", codes=z_from_seeds(seeds, 4), generator=ID)


def plus(seed=0, samples=2):
    return Latent(space="w+", codes=normal(seed, (samples, 3, 4)), generator=ID)


def styles(seed=0, samples=2):
    return Latent(
        space="s", codes={"L0": normal(seed, (samples, 5)), "L1": normal(seed + 1, (samples, 2))}, generator=ID
    )


def same(a, b):
    a, b = a.named_tensors(), b.named_tensors()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("make", [lambda: z_latent(0, 1), plus, styles, lambda: G.map(z_from_seeds([0, 1], 4))])
def test_save_and_load(tmp_path, make):
    latent = make()
    latent.save(tmp_path / "a.safetensors")
    again = Latent.load(tmp_path / "a.safetensors")
    assert same(latent, again)
    assert (again.space, again.generator, again.parent) == (latent.space, latent.generator, None)
    latent.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_file_keeps_placement_and_alignment(tmp_path):
    placed = Transform.rotate(10) @ Transform.translate(0.1, 0.2)
    plus().save(tmp_path / "a", transform=placed, alignment={"convention": "ffhq"})
    found = read_latent(tmp_path / "a")
    assert torch.equal(found.transform.matrix, placed.matrix)
    assert found.alignment == {"convention": "ffhq"}
    plus().save(tmp_path / "b", alignment=SimpleNamespace(to_dict=lambda: {"x": 1}))
    assert read_latent(tmp_path / "b").alignment == {"x": 1}
    assert read_latent(tmp_path / "b").transform is None


def test_samples():
    latent = plus(samples=3)
    assert len(latent) == 3 and len(list(latent)) == 3
    assert same(latent[-1], latent[2]) and latent[1].tensor.shape == (1, 3, 4)
    assert same(latent[[2, 0]], concatenate([latent[2], latent[0]]))
    assert same(latent[1:], concatenate([latent[1], latent[2]]))
    assert len(styles()[0]) == 1
    with pytest.raises(IndexError):
        latent[3]


def test_lerp_ends_are_exact():
    for a, b in [(plus(0), plus(5)), (styles(0), styles(5)), (z_latent(0), z_latent(1))]:
        assert same(a.lerp(b, 0.0), a) and same(a.lerp(b, 1.0), b)
    middle = plus(0).lerp(plus(5), 0.5).tensor
    assert torch.allclose(middle, (plus(0).tensor + plus(5).tensor) / 2)
    assert plus(0, 1).lerp(plus(5, 3), 0.3).tensor.shape == (3, 3, 4)
    assert G.map(z_from_seeds([0, 1], 4)).lerp(plus(), 0.5).space == "w+"


def test_slerp_keeps_the_length_and_the_plane():
    a, b = z_latent(0), z_latent(1)
    assert torch.allclose(a.slerp(b, 0.0).tensor, a.tensor) and torch.allclose(a.slerp(b, 1.0).tensor, b.tensor)
    right = Latent(space="z", codes=torch.tensor([[2.0, 0, 0, 0]]), generator=ID)
    up = Latent(space="z", codes=torch.tensor([[0.0, 2, 0, 0]]), generator=ID)
    assert torch.allclose(right.slerp(up, 1 / 3).tensor, torch.tensor([[3**0.5, 1.0, 0, 0]]), atol=1e-6)
    assert torch.allclose(right.slerp(right, 0.7).tensor, right.tensor)
    with pytest.raises(LatentError, match="opposite"):
        right.slerp(Latent(space="z", codes=-right.tensor, generator=ID), 0.5)
    with pytest.raises(LatentError, match="in z is needed, got one in w\\+"):
        plus().slerp(plus(1), 0.5)


def test_truncation():
    w = G.map(z_from_seeds([0, 1], 4))
    assert same(w.truncate(G.w_avg, 1.0), w)
    assert torch.allclose(w.truncate(G.w_avg, 0.0).tensor, G.w_avg.expand(2, 3, 4))
    half = w.truncate(G.w_avg, 0.5, cutoff=2)
    assert half.space == "w+" and torch.equal(half.tensor[:, 2], w.tensor[:, 2])
    assert torch.allclose(half.tensor[:, :2], (w.tensor[:, :2] + G.w_avg) / 2)
    assert w.truncate(G.w_avg, 0.5).space == "w" and same(w.truncate(G.w_avg, 0.5, cutoff=0), w)
    with pytest.raises(LatentError, match="cutoff is 0 to 3"):
        w.truncate(G.w_avg, 0.5, cutoff=4)
    with pytest.raises(LatentError, match="w_avg"):
        w.truncate(torch.zeros(1), 0.5)
    with pytest.raises(LatentError, match="in w or w\\+ is needed, got one in z; map it first"):
        z_latent(0).truncate(G.w_avg, 0.5)


def test_mixing():
    a, b = plus(0), plus(5)
    mixed = a.mix(b, [1])
    assert torch.equal(mixed.tensor[:, 1], b.tensor[:, 1])
    assert torch.equal(mixed.tensor[:, [0, 2]], a.tensor[:, [0, 2]])
    assert same(a.mix(b, []), a) and same(a.mix(b, range(3)), b)
    s = styles(0).mix(styles(5), ["L1"])
    assert torch.equal(s.styles["L1"], styles(5).styles["L1"]) and torch.equal(s.styles["L0"], styles(0).styles["L0"])
    assert G.map(z_from_seeds([0], 4)).mix(b, [0]).space == "w+"
    with pytest.raises(LatentError, match="no layer 3 here; the layers are 0 to 2"):
        a.mix(b, [3])
    with pytest.raises(LatentError, match="no layer 'L9'"):
        styles().mix(styles(), "L9")
    with pytest.raises(LatentError, match="in w\\+ and one in s"):
        a.mix(styles(), [0])
    with pytest.raises(LatentError, match="in w\\+ is needed, got one in z"):
        z_latent(0).mix(z_latent(1), [0])


def test_another_generator_is_refused():
    other = LinearGenerator(name="other")
    with pytest.raises(GeneratorMismatchError, match=f"{ID[:12]}.*'other', {other.spec.id[:12]}"):
        plus().check(other.spec)
    assert plus().check(G.spec).check(LinearGenerator(name="tuned", parent_id=ID).spec)
    foreign = Latent(space="w+", codes=plus().tensor, generator=other.spec.id)
    for operation in (lambda: plus().lerp(foreign, 0.5), lambda: concatenate([plus(), foreign])):
        with pytest.raises(GeneratorMismatchError, match="different generators"):
            operation()


def test_another_shape_is_refused():
    with pytest.raises(LatentError, match=r"\[3, 4\] a sample, got \[2, 4\]"):
        Latent(space="w", codes=torch.zeros(1, 2, 4), generator=ID).check(G.spec)
    with pytest.raises(LatentError, match="different shapes"):
        plus().lerp(Latent(space="w+", codes=torch.zeros(2, 2, 4), generator=ID), 0.5)
    with pytest.raises(LatentError, match="2 and 3 samples"):
        plus().lerp(plus(samples=3), 0.5)
    with pytest.raises(LatentError, match="at least one"):
        concatenate([])


@pytest.mark.parametrize(
    ("space", "codes"),
    [
        ("x", torch.zeros(1, 4)),
        ("z", torch.zeros(4)),
        ("z", torch.zeros(1, 3, 4)),
        ("w", torch.zeros(1, 4)),
        ("w+", torch.zeros(1, 3, 4).int()),
        ("w+", torch.zeros(0, 3, 4)),
        ("w", [[0.0]]),
        ("s", torch.zeros(1, 4)),
        ("s", {}),
        ("s", {"a": torch.zeros(1, 2), "b": torch.zeros(2, 2)}),
        ("s", {"a": torch.zeros(3)}),
    ],
)
def test_codes_that_are_none(space, codes):
    with pytest.raises(LatentError, match=r"codes in|unknown latent space"):
        Latent(space=space, codes=codes, generator=ID)


def test_bad_values_are_never_written_or_read(tmp_path):
    bad = plus()
    bad.tensor[0, 0, 0] = float("nan")
    with pytest.raises(LatentError, match="NaN"):
        bad.save(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    unequal = Latent(space="w", codes=plus().tensor, generator=ID)
    with pytest.raises(LatentError, match="rows"):
        unequal.save(tmp_path / "a")


def rewritten(path, change, **tensors):
    """A latent file with another header or other tensors."""
    plus().save(path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["editkit"])
    header.update(change)
    path.write_bytes(safetensors.torch.save(tensors or {"w": plus().tensor}, metadata={"editkit": json.dumps(header)}))
    return path


@pytest.mark.parametrize(
    ("change", "tensors", "error", "words"),
    [
        ({"schema": 99, "written_by": "9.1.0"}, {}, SchemaError, "schema 99 is newer than 2.*install editkit 9.1.0"),
        ({"schema": "1"}, {}, SchemaError, "no readable schema"),
        ({"kind": "direction"}, {}, LatentError, "'direction' file where a latent is needed"),
        ({"space": "q"}, {}, LatentError, "unknown latent space 'q'"),
        ({"space": None}, {}, LatentError, "unknown latent space"),
        ({"space": "z"}, {}, LatentError, "lacks 'z'"),
        ({"generator": None}, {}, LatentError, "id of its generator"),
        ({"transform": [[1, 2]]}, {}, LatentError, "transform"),
        ({"alignment": "me"}, {}, LatentError, "alignment"),
        ({}, {"w": torch.full((1, 3, 4), float("inf"))}, LatentError, "NaN or infinite"),
        ({}, {"w": torch.zeros(4)}, LatentError, "codes in w"),
        ({}, {"x": torch.zeros(1, 3, 4)}, LatentError, "lacks 'w'"),
    ],
)
def test_wrong_files(tmp_path, change, tensors, error, words):
    with pytest.raises(error, match=words):
        Latent.load(rewritten(tmp_path / "a", change, **tensors))


def test_files_that_are_no_latents(tmp_path):
    with pytest.raises(LatentError, match="no such file"):
        Latent.load(tmp_path / "none")
    with pytest.raises(LatentError, match="cannot be read"):
        Latent.load(tmp_path)
    for content in (b"", b"\x89PNG", b"hello" * 100, b"\xff" * 8 + b"x" * 100):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(LatentError, match="not a readable safetensors file"):
            Latent.load(tmp_path / "bad")
    plus().save(tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-1])
    with pytest.raises(LatentError, match="not a readable"):
        Latent.load(tmp_path / "cut")
    safetensors.torch.save_file({"w": plus().tensor}, tmp_path / "plain")
    with pytest.raises(LatentError, match="without an editkit header"):
        Latent.load(tmp_path / "plain")


def test_unwritable(tmp_path):
    with pytest.raises(OutputError):
        plus().save(tmp_path / "no" / "a")


def test_gradients_pass_through():
    codes = normal(0, (1, 3, 4)).requires_grad_()
    latent = Latent(space="w+", codes=codes, generator=ID)
    latent.lerp(plus(1, 1), 0.25).tensor.sum().backward()
    assert torch.allclose(codes.grad, torch.full_like(codes, 0.75))
    assert not latent.detach().tensor.requires_grad
    with pytest.raises(LatentError, match=r"latent\.styles"):
        _ = styles().tensor
    with pytest.raises(LatentError, match=r"latent\.tensor"):
        _ = latent.styles
