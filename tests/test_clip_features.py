"""CLIP's features from a small network of random weights that the tests write: figures and every refusal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from test_metrics_run import command, photos
from torch import Tensor

from editkit.clip_network import DEVIATION, MEAN, import_open_clip
from editkit.errors import CheckpointError, MissingWeightsError, UsageError
from editkit.generator import random_generator, save_generator
from editkit.safetensors_format import save_file
from train.metrics.clip_features import ClipFeatures
from train.metrics.feature_sets import sample_batches
from train.metrics.frechet import frechet_distance, statistics
from train.metrics.panel import measure_panel
from train.metrics.pictures import Pictures

SMALL = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """open_clip knows "tiny-metrics"; its weights lie in both kinds of file."""
    open_clip = import_open_clip()
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-metrics.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(folder / "tiny-metrics.json")
    torch.manual_seed(0)
    state: dict[str, Tensor] = open_clip.create_model("tiny-metrics").state_dict()
    save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "w.safetensors", {})
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, folder / "w.pt")
    return folder


def test_features_by_hand(weights: Path) -> None:
    clip = ClipFeatures(f"clip:tiny-metrics={weights / 'w.safetensors'}")
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found = clip(images)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
    by_hand = clip._network.encode_image(((images + 1) / 2 - mean) / deviation)
    assert found.values.shape == (3, 12) and torch.allclose(found.values, by_hand, atol=1e-5) and found.logits is None
    assert clip(torch.rand(2, 3, 48, 48)).values.shape == (2, 12)
    again = ClipFeatures(f"clip:tiny-metrics={weights / 'w.pt'}")
    assert torch.equal(again(images).values, found.values) and again.id != clip.id
    assert [clip.name(metric) for metric in ("fd", "pr")] == ["fd_clip-tiny-metrics", "pr_clip-tiny-metrics"]


def test_the_command_measures_with_it(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    G = random_generator(resolution=32)
    save_generator(G, tmp_path / "G.safetensors")
    data, text = photos(tmp_path / "photos"), f"clip:tiny-metrics={weights / 'w.safetensors'}"
    shared = ("--generator", tmp_path / "G.safetensors", "--data", data, "--samples", 16, "--features", text)
    code, found, err = command(capsys, *shared, "--metrics", "fd_features,kid_features,pr_features")
    assert code == 0, err
    assert set(found["metrics"]) == {
        "fd_clip-tiny-metrics", "kid_clip-tiny-metrics", "precision_clip-tiny-metrics", "recall_clip-tiny-metrics",
    }  # fmt: skip
    clip = ClipFeatures(text)
    real = torch.cat([clip(batch).values for batch in Pictures(data, resolution=32).batches(8)])
    made = torch.cat([clip(batch).values for batch in sample_batches(G, 16)])
    expected = frechet_distance(statistics(real), statistics(made))
    assert found["metrics"]["fd_clip-tiny-metrics"] == pytest.approx(expected, rel=1e-4)
    code, found, err = command(capsys, *shared)  # the default is then fd_features
    assert code == 0 and list(found["metrics"]) == ["fd_clip-tiny-metrics"], err


def test_refusals(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("clip", "clip:ViT-B-32", "vgg:x=y", ""):
        with pytest.raises(UsageError, match="clip:MODEL=FILE"):
            ClipFeatures(text)
    with pytest.raises(UsageError, match="no model 'ViT-Z'"):
        ClipFeatures("clip:ViT-Z=x.pt")
    with pytest.raises(UsageError, match="nothing is downloaded"):  # before anything is looked for on a hub
        ClipFeatures(f"clip:xlm-roberta-base-ViT-B-32={weights / 'w.pt'}")
    with pytest.raises(MissingWeightsError, match=r"nowhere\.pt"):
        ClipFeatures(f"clip:tiny-metrics={tmp_path / 'nowhere.pt'}")
    for name, content in (("torn.safetensors", b"\x08"), ("torn.pt", b"no")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            ClipFeatures(f"clip:tiny-metrics={tmp_path / name}")
    torch.save({"visual.proj": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt: not the weights of tiny-metrics"):
        ClipFeatures(f"clip:tiny-metrics={tmp_path / 'other.pt'}")
    G = random_generator(resolution=32)
    for options in ({"metrics": ["fd_features"]}, {"features": "clip:tiny-metrics=w.pt"}):
        with pytest.raises(UsageError, match="belong together"):
            measure_panel(G, data=tmp_path, **options)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingWeightsError, match="pip install open_clip_torch"):
        ClipFeatures(f"clip:tiny-metrics={weights / 'w.pt'}")
