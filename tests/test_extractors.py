"""Feature networks: the bundled one, Inception from weights, and what is refused."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from unittest import mock

import pytest
import torch
from torch import nn

from editkit.errors import CheckpointError, MissingWeightsError
from train.metrics import extractors
from train.metrics.extractors import INCEPTION_FILE, FaceFeatures, Inception, fetched, load_extractor


def test_the_bundled_network() -> None:
    faces = FaceFeatures()
    found = faces(torch.zeros(2, 3, 64, 64))
    assert found.values.shape == (2, 256) and found.logits is None
    assert faces.name("fd") == "fd_faces" and faces.id.startswith("faces-")


def test_an_address_is_fetched_once(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>Please log in</html>")
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/weights.pth"
        first = fetched(address)
        with pytest.raises(CheckpointError, match="not a file of weights"):
            fetched(address.replace("weights", "page"))
        server.shutdown()
    assert first.read_bytes() == (tmp_path / "weights.pth").read_bytes() and tmp_path / "home" in first.parents
    assert fetched(address) == first  # the server is gone
    assert fetched(str(tmp_path / "weights.pth")) == tmp_path / "weights.pth"


def test_missing_damaged_and_unsafe_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(MissingWeightsError, match=INCEPTION_FILE):
        load_extractor(None)
    with pytest.raises(MissingWeightsError, match="nowhere"):
        load_extractor(tmp_path / "nowhere.pt")
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"not a module")
    with pytest.raises(CheckpointError, match="not a file of weights"):
        load_extractor(damaged)
    torch.save(nn.Linear(2, 2), tmp_path / "object.pth")  # a pickled object, which only an unrestricted reader makes
    with pytest.raises(CheckpointError, match="not a file of weights"):
        load_extractor(tmp_path / "object.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="state dict"):
        load_extractor(tmp_path / "list.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not the Inception network"):
        load_extractor(tmp_path / "other.pth")


def random_inception(path: Path) -> Path:
    """Random weights under the published names; the logits are the first features."""
    kind = extractors._inception_class()
    empty = path.with_suffix(".empty.pth")
    torch.save({}, empty)
    with mock.patch.object(kind, "load_state_dict", lambda self, state, strict=True: None):
        network = kind("made", ["2048"], feature_extractor_weights_path=str(empty))
    empty.unlink()
    state = network.state_dict()
    state["fc.weight"] = torch.eye(1008, 2048)
    torch.save(state, path)
    return path


def test_inception_weights_from_a_state_dict(tmp_path: Path) -> None:
    inception = load_extractor(random_inception(tmp_path / "inception.pth"))
    assert isinstance(inception, Inception)
    assert [inception.name(metric) for metric in ("fd", "kid", "pr", "is")] == ["fid", "kid", "pr", "is"]
    found = inception(torch.rand(2, 3, 32, 32) * 2 - 1)
    assert found.values.shape == (2, 2048) and found.logits is not None
    assert torch.allclose(found.logits, found.values[:, :1008], atol=1e-5)  # logits without bias: eye times features
