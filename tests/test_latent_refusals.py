"""Files of other programs that hold no latent: objects, damage, sizes. Nothing in them is run."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from foreign_latents import PLUS, G, W, save

from editkit.errors import LatentError
from editkit.latent_arrays import read_arrays
from editkit.latent_exchange import import_latent


class Payload:
    """Would leave a mark if anything unpickled it."""

    mark = "unpickled"

    def __reduce__(self) -> tuple:
        return exec, (f"open({self.mark!r}, 'w').close()",)


def test_what_is_no_numbers_is_passed_over_beside_codes_and_told_alone(tmp_path) -> None:
    texts, codes = np.array(["me.jpg"]), PLUS.numpy()
    np.savez(tmp_path / "named.npz", w=codes, names=texts)
    with zipfile.ZipFile(tmp_path / "named.npz", "a") as archive:
        archive.writestr("read.me", "what the arrays are")
    assert torch.equal(import_latent(tmp_path / "named.npz", G.spec).tensor, PLUS)
    np.savez(tmp_path / "names.npz", names=texts)
    np.save(tmp_path / "names.npy", texts)
    for name in ("names.npz", "names.npy"):
        with pytest.raises(LatentError, match=rf"{name}: no array of floating-point numbers in it \(.* <U6\)"):
            read_arrays(tmp_path / name)


def test_what_a_file_of_objects_asks_for_is_named_and_nothing_is_advised(tmp_path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    (tmp_path / "text.pt").write_text("hello")
    for name, reason in (("whole.pt", r"it asks for torch\.nn\.\S*Linear"), ("text.pt", "damaged, or not written by")):
        with pytest.raises(LatentError, match=reason) as caught:
            read_arrays(tmp_path / name)
        assert str(caught.value).isprintable() and "weights_only" not in str(caught.value)
        assert "two options" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".pth"])
def test_objects_are_refused_and_never_run(tmp_path, monkeypatch, suffix) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"latents{suffix}"
    objects = np.empty(1, dtype=object)
    objects[0] = Payload()
    if suffix == ".npy":
        np.save(path, objects, allow_pickle=True)
    elif suffix == ".npz":
        np.savez(path, w=objects)
    else:
        torch.save({"w": PLUS, "more": Payload()}, path)
    with pytest.raises(LatentError, match=r"holds Python objects, which are never loaded|not a file of plain tensors"):
        import_latent(path, G.spec)
    raw = tmp_path / f"raw{suffix}"
    import pickle

    raw.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(LatentError):
        import_latent(raw, G.spec)
    assert not (tmp_path / Payload.mark).exists()


def npy(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.npy", b"", "not a readable NumPy file|no such|empty"),
        ("a.npy", b"<html>", "not a readable NumPy file .it begins with"),
        ("a.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }"), "not a readable NumPy"),
        ("a.npz", b"PK\x03\x04 cut", "not a readable NumPy file"),
        ("a.npz", b"", "not a readable NumPy file"),
        ("a.pt", b"", "not a file of plain tensors"),
        ("a.pt", b"PK\x03\x04 cut", "not a file of plain tensors"),
        ("a.csv", b"1,2", r"latents come as \.npy, \.npz, \.pt, \.pth or \.safetensors"),
        ("a.safetensors", b"{}", "not a readable safetensors file"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, name, data, message) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(LatentError, match=message) as caught:
        import_latent(path, G.spec)
    assert "\n" not in str(caught.value)


def test_missing_and_unpacked_sizes(tmp_path, monkeypatch) -> None:
    for name in ("no.npy", "no.npz", "no.pt", "no.safetensors"):
        with pytest.raises(LatentError, match="no such file"):
            import_latent(tmp_path / name, G.spec)
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((1000, 1000), np.float32))
        archive.writestr("w.npy", buffer.getvalue())
    monkeypatch.setattr("editkit.latent_arrays.MAX_BYTES", 1_000_000)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(LatentError, match="claims 4 MB unpacked"):
        import_latent(bomb, G.spec)
    with pytest.raises(LatentError, match="has at most 1 MB"):
        import_latent(save(tmp_path / "large.npy", torch.zeros(1000, 300)), G.spec)


@pytest.mark.parametrize("content", [torch.zeros(2, 4, dtype=torch.int32), torch.zeros(0, 4)])
def test_files_without_numbers_of_use_are_refused(tmp_path, content) -> None:
    for name in ("a.npy", "a.pt"):
        with pytest.raises(LatentError, match="no array of floating-point numbers"):
            read_arrays(save(tmp_path / name, content))
    with pytest.raises(LatentError, match="different shapes"):
        read_arrays(save(tmp_path / "b.pt", [W, PLUS]))
    with pytest.raises(LatentError, match="nothing at all"):
        read_arrays(save(tmp_path / "c.pt", {"name": "me"}))
