"""Feature networks from files: the bundled one, TorchScript, Inception weights, and what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from editkit.errors import CheckpointError, MissingWeightsError
from train.metrics.extractors import INCEPTION_FILE, FaceFeatures, Inception, Script, fetched, load_extractor


class Colours(nn.Module):
    """Mean colours as features, and logits that follow the brightness."""

    def __init__(self, classify: bool) -> None:
        super().__init__()
        self.classify = classify

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = x.float().mean((2, 3))
        return features, torch.cat([features, -features], 1)


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean((2, 3))


class Wrong(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


def script(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit: the files are still about
        torch.jit.save(torch.jit.trace(module, torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), str(path))
    return path


def test_the_bundled_network() -> None:
    faces = FaceFeatures()
    found = faces(torch.zeros(2, 3, 64, 64))
    assert found.values.shape == (2, 256) and found.logits is None
    assert faces.name("fd") == "fd_faces" and faces.id.startswith("faces-")


def test_a_torchscript_file_names_its_distances(tmp_path: Path) -> None:
    images = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 3, 8, 8)
    both = load_extractor(script(Colours(True), tmp_path / "my colours.pt"))
    assert isinstance(both, Script) and both.name("kid") == "kid_my-colours"
    found = both(images)
    assert found.values.tolist() == [[0.0] * 3, [255.0] * 3]  # bytes went in
    assert found.logits is not None and found.logits.shape == (2, 6)
    plain = load_extractor(script(Plain(), tmp_path / "plain.pt"))
    assert plain(images).logits is None and plain.id != both.id
    with pytest.raises(CheckpointError, match="no features"):
        load_extractor(script(Wrong(), tmp_path / "wrong.pt"))(images)


def test_a_url_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_HOME", str(tmp_path / "home"))
    source = script(Plain(), tmp_path / "plain.pt")
    first = fetched(source.as_uri())
    assert first.read_bytes() == source.read_bytes() and tmp_path / "home" in first.parents
    source.unlink()
    assert fetched(f"file://{source}") == first
    assert load_extractor(f"file://{source}")(torch.zeros(1, 3, 8, 8)).values.shape == (1, 3)
    with pytest.raises(MissingWeightsError, match="cannot fetch"):
        fetched((tmp_path / "nothing.pt").as_uri())


def test_missing_damaged_and_unsafe_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(MissingWeightsError, match=INCEPTION_FILE):
        load_extractor(None)
    with pytest.raises(MissingWeightsError, match="nowhere"):
        load_extractor(tmp_path / "nowhere.pt")
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"not a module")
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_extractor(damaged)
    with pytest.raises(CheckpointError, match="not a file of weights"):
        Inception(damaged)
    torch.save(nn.Linear(2, 2), tmp_path / "object.pth")  # a pickled object, which only an unrestricted reader makes
    with pytest.raises(CheckpointError, match="not a file of weights"):
        load_extractor(tmp_path / "object.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="state dict"):
        load_extractor(tmp_path / "list.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not the Inception network"):
        load_extractor(tmp_path / "other.pth")


def test_inception_weights_from_a_state_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights under the published names; torch-fidelity's network reads them and runs."""
    from train.metrics.extractors import _inception_class

    kind = _inception_class()
    monkeypatch.setattr(kind, "load_state_dict", lambda self, state, strict=True: None)
    network = kind("made", ["2048"], feature_extractor_weights_path=_empty(tmp_path))
    monkeypatch.undo()
    state = network.state_dict()
    state["fc.weight"] = torch.eye(1008, 2048)
    torch.save(state, tmp_path / "inception.pth")
    inception = load_extractor(tmp_path / "inception.pth")
    assert isinstance(inception, Inception) and [inception.name(m) for m in ("fd", "kid", "pr", "is")] == [
        "fid", "kid", "pr", "is",
    ]  # fmt: skip
    found = inception(torch.rand(2, 3, 32, 32) * 2 - 1)
    assert found.values.shape == (2, 2048) and found.logits is not None
    assert torch.allclose(found.logits, found.values[:, :1008], atol=1e-5)  # logits without bias: eye times features


def _empty(folder: Path) -> str:
    torch.save({}, folder / "empty.pth")
    return str(folder / "empty.pth")
