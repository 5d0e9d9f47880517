"""Published arrays: every layout, every refusal, and what becomes of those of another generator."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from styled_generator import StyledGenerator

from directions import published
from directions.attributes import Scorer
from editkit.direction import Direction
from editkit.errors import DirectionError, GeneratorMismatchError

SCALES = [2.0, 1.0, 0.5, 1.0]
TONE = Scorer(name="tone", unit="", measure=lambda images: images[:, 0, 0, 0])  # w[0] through row 1


@pytest.fixture
def G():
    return StyledGenerator(resolution=8, scales=SCALES, name="here")


def keep(path, array):
    np.save(path, np.asarray(array, dtype=np.float32))
    return path


def components(path, *, mean, count=3):
    arrays = {
        "act_comp": np.zeros((count, 1, 7)), "lat_comp": np.eye(4)[:count, None], "lat_mean": np.asarray(mean)[None],
        "lat_stdev": np.ones(count), "var_ratio": np.ones(count),
    }  # fmt: skip
    np.savez(path, **{name: array.astype(np.float32) for name, array in arrays.items()})
    return path


@pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 1, 4)])
def test_a_boundary_in_units_of_this_generator(G, tmp_path, shape):
    file = keep(tmp_path / "age_w_boundary.npy", np.array([7.0, 0, 0, 0]).reshape(shape))
    (found,) = published.import_directions(G, file, name="age")
    assert found.name == "age" and found.space == "w" and found.generator == G.spec.id and found.method == "imported"
    assert torch.allclose(
        found.vector, torch.tensor([2.0, 0, 0, 0]), atol=0.05
    )  # a deviation of w, whatever its length
    assert found.strength == (-3.0, 3.0) and "age_w_boundary.npy" in found.reference


def test_components_of_ganspace(G, tmp_path):
    file = components(tmp_path / "c.npz", mean=G.w_avg)
    found = published.import_directions(G, file, name="pca")
    assert [one.name for one in found] == ["pca-0", "pca-1", "pca-2"]
    assert [float(one.vector.norm()) for one in found] == pytest.approx(SCALES[:3], rel=0.05)
    (one,) = published.import_directions(G, file, name="x", chosen=[2], layers=[1, 2])
    assert one.name == "x" and one.space == "w+" and not one.touches_placement and "direction 2" in one.reference


def test_vectors_with_rows_of_their_own(G, tmp_path):
    rows = np.zeros((2, 3, 4))
    rows[0, 1, 0], rows[1, 2, 1] = 5.0, 5.0
    found = published.import_directions(G, keep(tmp_path / "s.npy", rows), name="s", space="w+")
    assert [one.space for one in found] == ["w+", "w+"] and float(found[0].vector[1, 0]) == pytest.approx(2, rel=0.05)
    (one,) = published.import_directions(G, keep(tmp_path / "one.npy", rows[0]), name="s", space="w+")
    assert torch.equal(one.vector, found[0].vector)


def test_one_of_several_arrays(G, tmp_path):
    np.savez(tmp_path / "two.npz", a=np.eye(4, dtype=np.float32)[:1], values=np.ones(1, dtype=np.float32))
    with pytest.raises(DirectionError, match=r"several arrays.*a \[1, 4\], values \[1\]"):
        published.import_directions(G, tmp_path / "two.npz", name="x")
    with pytest.raises(DirectionError, match="no array called 'b'"):
        published.import_directions(G, tmp_path / "two.npz", name="x", key="b")
    assert len(published.import_directions(G, tmp_path / "two.npz", name="x", key="a")) == 1


class Bomb:
    def __reduce__(self):
        return os.system, ("touch PWNED_import",)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_objects_are_never_loaded(G, tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Bomb(), np.eye(4)], dtype=object)
    (np.save if suffix == ".npy" else np.savez)(tmp_path / f"bad{suffix}", objects, allow_pickle=True)
    with pytest.raises(DirectionError, match="Python objects, which are never loaded"):
        published.import_directions(G, tmp_path / f"bad{suffix}", name="x")
    assert not (tmp_path / "PWNED_import").exists()


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.ones(5), {}, r"are \[4\], got \[5\]"),
        (np.ones((2, 3, 4)), {}, r"in w are .*got \[2, 3, 4\]"),
        (np.ones((5, 4)), {"space": "w+"}, r"are \[3, 4\], got \[5, 4\]"),
        (np.ones(4), {"space": "w+"}, r"in w\+ are"),
        (np.full(4, np.nan), {}, "NaN"),
        (np.zeros(4), {}, "does not vary along direction 0"),
        (np.ones((2, 4)), {"chosen": [2]}, "holds directions 0 to 1"),
        (np.ones((2, 4)), {"chosen": []}, "holds directions 0 to 1"),
        (np.ones(4), {"layers": [9]}, "no layer 9"),
    ],
)
def test_wrong_arrays(G, tmp_path, array, options, message):
    with pytest.raises(DirectionError, match=message):
        published.import_directions(G, keep(tmp_path / "x.npy", array), name="x", **options)


def test_wrong_files(G, tmp_path):
    for name, content, message in (
        ("x.pt", b"", "imported from .npy"),
        ("x.npy", b"no array", "not a readable NumPy file .it begins with"),
        ("x.npy", b"PK\x03\x04 and more", "call it .npz"),
        ("x.npy", b"\x80\x04 a pickle", "never loaded"),
        ("x.npy", b"", "it is empty"),
        ("x.npz", b"no archive", "NumPy file"),
        ("x.safetensors", b"nothing", "safetensors"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DirectionError, match=message):
            published.import_directions(G, tmp_path / name, name="x")
    with pytest.raises(DirectionError, match="no such file"):
        published.import_directions(G, tmp_path / "none.npy", name="x")
    file = keep(tmp_path / "cut.npy", np.ones((100, 4)))
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(DirectionError, match="damaged"):
        published.import_directions(G, file, name="x")


def test_foreign_arrays_are_refused(G, tmp_path):
    file = keep(tmp_path / "x.npy", np.eye(4)[:1])
    for own in ("here", G.spec.id, G.spec.id[:8]):
        assert published.import_directions(G, file, name="x", made_for=own)
    for other in ("there", "0123456789ab", "h"):
        with pytest.raises(GeneratorMismatchError, match=r"not for 'here'.*--refit"):
            published.import_directions(G, file, name="x", made_for=other)
    with pytest.raises(GeneratorMismatchError, match="mean of w is"):  # the file itself gives it away
        published.import_directions(G, components(tmp_path / "c.npz", mean=G.w_avg + 3.0), name="x")
    theirs = StyledGenerator(name="there")
    Direction(name="a", vector=torch.ones(4), space="w", generator=theirs.spec.id).save(tmp_path / "a.safetensors")
    with pytest.raises(GeneratorMismatchError, match="made for therexxx"):
        published.import_directions(G, tmp_path / "a.safetensors", name="x")
    (own,) = published.import_directions(theirs, tmp_path / "a.safetensors", name="b")
    assert own.name == "b" and torch.equal(own.vector, torch.ones(4))


def test_a_foreign_direction_that_works_here_is_calibrated(G, tmp_path):
    file = keep(tmp_path / "x.npy", [-1.0, 0.2, 0, 0])
    (found,) = published.import_directions(G, file, name="tone", made_for="there", refit=TONE)
    assert found.method == "imported, calibrated here" and "one standard deviation of tone" in found.unit
    assert torch.allclose(found.vector, torch.tensor([2.0, -0.4, 0, 0]), atol=0.2)  # turned, and a deviation long
    assert found.generator == G.spec.id and "of another generator" in found.reference


@pytest.mark.parametrize("array", [[0, 1.0, 0, 0], [1.0, 0, 0, 0, 0]], ids=["does nothing", "another width"])
def test_a_foreign_direction_that_does_not_work_is_fitted_anew(G, tmp_path, monkeypatch, array):
    fitted = published.LinearSVM
    monkeypatch.setattr(published, "LinearSVM", lambda **options: fitted(samples=4000, **options))
    (found,) = published.import_directions(G, keep(tmp_path / "x.npy", array), name="t", made_for="there", refit=TONE)
    assert found.name == "t" and found.method == "linear svm" and "in place of x.npy" in found.reference
    assert float(found.vector[0]) > 3 * float(found.vector[1:].abs().max())
