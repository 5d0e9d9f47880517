"""Feature networks by name, from files that the tests make: four maps, gradients, identity, and every refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editkit.errors import CheckpointError, MissingWeightsError, UsageError
from editkit.torchvision_remedy import import_torchvision
from train.feature_backbones import MappedBackbone, read_backbone, read_named
from train.guidance import Guidance, read_classifier
from train.projected_discriminator import FaceBackbone, ProjectedDiscriminator

import_torchvision()  # timm needs it, and PyPI's does not import beside a CPU torch


def saved(folder: Path, name: str, *, classes: int | None = None, safe: bool = False) -> Path:
    """Random weights of a network of timm ("test_resnet") or torchvision, as its users save them."""
    torch.manual_seed(0)
    if name.startswith("test_"):
        import timm

        network = timm.create_model(name, pretrained=False, **({} if classes is None else {"num_classes": classes}))
    else:
        from torchvision import models

        network = models.get_model(name, weights=None)
    path = folder / (f"{name}.safetensors" if safe else f"{name}.pth")
    if safe:
        from safetensors.torch import save_file

        save_file(network.state_dict(), path)
    else:
        torch.save({"model": network.state_dict()} if name == "test_vit" else network.state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("timm:test_resnet@64", [16, 8, 4, 2]),
        ("timm:test_efficientnet@64", [16, 8, 4, 2]),
        ("timm:test_vit", [10, 10, 10, 10]),
        ("torchvision:shufflenet_v2_x0_5@64", [16, 8, 4, 2]),
        ("torchvision:squeezenet1_1@64", [31, 15, 7, 3]),
    ],
)
def test_a_network_gives_four_maps_that_carry_gradients(text: str, sides: list[int], tmp_path: Path) -> None:
    name = text.split(":")[1].split("@")[0]
    backbone = read_backbone(f"{text}={saved(tmp_path, name, safe=name == 'test_resnet')}")
    assert isinstance(backbone, MappedBackbone)
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    maps = backbone(images)
    assert [x.shape[2] for x in maps] == [x.shape[3] for x in maps] == sides
    sum(x.sum() for x in maps).backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    alone = backbone.train(True)(images[:1])  # no batch statistics, whatever the mode
    assert all(torch.allclose(x, y[:1], atol=1e-4, rtol=1e-4) for x, y in zip(alone, maps, strict=True))
    assert backbone.id.startswith(f"{text}-") and not any(p.requires_grad for p in backbone.parameters())


def test_two_networks_make_one_discriminator(tmp_path: Path) -> None:
    """A convolutional network and a transformer, as StyleGAN-XL has them."""
    pair = [
        read_backbone(f"timm:test_resnet@64={saved(tmp_path, 'test_resnet')}"),
        read_backbone(f"timm:test_vit={saved(tmp_path, 'test_vit')}"),
    ]
    D = ProjectedDiscriminator(img_resolution=16, backbones=pair, width=4, largest=16, c_dim=3, embed_dim=5)
    logits = D(torch.randn(2, 3, 16, 16), torch.eye(3)[:2])
    assert logits.shape == (2, 2 * 64)
    logits.sum().backward()
    assert D.embed is not None and D.embed.weight.grad is not None and D.embed.weight.grad[:2].abs().sum() > 0


def test_the_id_is_of_the_weights(tmp_path: Path) -> None:
    path = saved(tmp_path, "test_resnet")
    first = read_backbone(f"timm:test_resnet={path}").id
    weights = torch.load(path, weights_only=True)
    next(iter(weights.values())).add_(1)
    torch.save(weights, path)
    assert read_backbone(f"timm:test_resnet={path}").id != first
    assert read_backbone("bundled").id == FaceBackbone().id


def test_a_classifier_guides_towards_the_class(tmp_path: Path) -> None:
    path = saved(tmp_path, "test_resnet", classes=3)
    guidance = Guidance(read_classifier(f"timm:test_resnet@64={path}", classes=3), weight=8.0)
    images = torch.randn(3, 3, 16, 16, requires_grad=True)
    label = torch.eye(3)
    loss = guidance(images, label)
    assert loss.shape == (3,)
    logits = guidance.classifier(images)
    assert torch.allclose(loss, -8 * torch.log_softmax(logits, 1).diagonal(), rtol=1e-5)
    (gradient,) = torch.autograd.grad(loss.sum(), images)
    closer = guidance(images - gradient * 0.01 / gradient.abs().max(), label)
    assert closer.sum() < loss.sum()
    with pytest.raises(UsageError, match="logits"):
        guidance(images, torch.eye(4)[:3])


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("resnet18", UsageError, "NAME=FILE"),
        ("timm:test_resnet", UsageError, "NAME=FILE"),
        ("timm:no_such_net={file}", UsageError, "no network"),
        ("torchvision:no_such_net={file}", UsageError, "no classifier"),
        ("timm:test_vit={file}", CheckpointError, "is not a timm:test_vit"),
        ("timm:test_resnet=/no/such/file.pth", MissingWeightsError, "nothing is downloaded"),
        ("timm:test_resnet={broken}", CheckpointError, "not a file of weights"),
        ("timm:test_resnet={broken}.safetensors", CheckpointError, "safetensors"),
        ("timm:test_vit_like={file}", UsageError, "no network"),
    ],
)
def test_refusals(text: str, error: type[Exception], match: str, tmp_path: Path) -> None:
    file, broken = saved(tmp_path, "test_resnet"), tmp_path / "broken"
    broken.write_bytes(b"no weights")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(error, match=match):
        read_backbone(text.format(file=file, broken=broken))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "ran").touch, ())

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError):
        read_named(f"timm:test_resnet={tmp_path / 'evil.pth'}")
    assert not (tmp_path / "ran").exists()


def test_a_classifier_needs_classes_and_a_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, "test_resnet")
    with pytest.raises(UsageError, match="--cond"):
        read_classifier(f"timm:test_resnet={path}", classes=0)
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingWeightsError, match="pip install timm"):
        read_backbone(f"timm:test_resnet={path}")
