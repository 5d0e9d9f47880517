"""The distances: what a metric must do, the prepared form, LPIPS without a download, and the import remedy."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from editkit import perceptual
from editkit.errors import CheckpointError, MissingWeightsError, UsageError
from editkit.lpips_trunk import LPIPS_TRUNKS, load_trunk, lpips_distance, lpips_model, lpips_units, trunk_path
from editkit.perceptual import LPIPS, Bundled, best_available, describe

ROOT = Path(__file__).resolve().parents[1]


def pictures(count: int = 4, size: int = 64, seed: int = 0) -> torch.Tensor:
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False).clamp(-1, 1)


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def test_zero_for_equal_pictures_symmetric_and_positive() -> None:
    a, b, distance = pictures(seed=0), pictures(seed=1), Bundled()
    assert distance.distance(a, a).abs().max() == 0
    torch.testing.assert_close(distance.distance(a, b), distance.distance(b, a))
    assert (distance.distance(a, b) > 0.05).all()


@pytest.mark.parametrize("size", [32, 64, 100, 128, 300])
def test_any_size(size: int) -> None:
    found = Bundled().distance(pictures(2, size), pictures(2, size, seed=1))
    assert found.shape == (2,) and (found > 0.05).all() and (found < 5).all()


def test_large_pictures_are_compared_at_128() -> None:
    a, b = pictures(1, 512), pictures(1, 512, seed=1)
    small = [F.interpolate(image, size=(128, 128), mode="area") for image in (a, b)]
    torch.testing.assert_close(Bundled().distance(a, b), Bundled().distance(*small))


def test_grows_with_blur_noise_and_shift() -> None:
    image, distance = pictures(4, 80), Bundled()
    noise = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    centre = image[:, :, 8:72, 8:72]
    textured = centre + 0.2 * noise.roll(1, 0)
    by_noise = [distance.distance(centre, centre + scale * noise).mean() for scale in (0.02, 0.05, 0.1, 0.2)]
    by_blur = [distance.distance(textured, F.avg_pool2d(textured, width, 1, width // 2)).mean() for width in (3, 5, 9)]
    by_shift = [distance.distance(centre, image[:, :, 8:72, 8 + s : 72 + s]).mean() for s in (1, 2, 4, 8)]
    for found in (by_noise, by_blur, by_shift):
        assert all(earlier < later for earlier, later in pairwise(found)), found


def test_a_prepared_target_gives_the_same_and_serves_a_batch() -> None:
    target, images, distance = pictures(1, seed=3), pictures(3), Bundled()
    prepared = distance.prepare(target)
    torch.testing.assert_close(prepared.distance(images), distance.distance(images, target.expand(3, -1, -1, -1)))
    torch.testing.assert_close(prepared.distance(images), distance.distance(images, target))
    assert prepared.name == distance.name == "editkit-faces"


def test_gradient_flows_to_the_picture_and_lowers_the_distance() -> None:
    target = pictures(1, seed=3)
    prepared = Bundled().prepare(target)
    image = pictures(1).requires_grad_()
    before = prepared.distance(image).sum()
    (gradient,) = torch.autograd.grad(before, image)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0
    step = image.detach() - 0.5 * gradient / gradient.norm()
    assert prepared.distance(step).sum() < before


def test_gradient_is_finite_at_zero_and_on_flat_pictures() -> None:
    for image in (pictures(1), torch.zeros(1, 3, 64, 64), -torch.ones(1, 3, 64, 64)):
        image.requires_grad_()
        Bundled().distance(image, image.detach().clone()).sum().backward()
        assert image.grad is not None and torch.isfinite(image.grad).all()


def test_the_gradient_has_no_grid_of_the_strides() -> None:
    """Summed over positions modulo 16 the gradient's energy is even: filtered halving leaves no lattice."""
    a, b = pictures(6), pictures(6, seed=1)
    a = (a + 0.1 * torch.randn(a.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    Bundled().distance(a, b).sum().backward()
    assert a.grad is not None
    inner = a.grad[:, :, 16:48, 16:48].square().mean((0, 1)).reshape(2, 16, 2, 16).mean((0, 2))
    halves = torch.stack([inner[i::2, j::2].mean() for i in (0, 1) for j in (0, 1)])
    assert halves.max() / halves.min() < 1.6


@pytest.mark.parametrize(
    ("first", "second"),
    [((2, 3, 64, 64), (3, 3, 64, 64)), ((1, 3, 64, 64), (1, 3, 32, 64)), ((3, 64, 64), (3, 64, 64))],
)
def test_pictures_that_do_not_match(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        Bundled().distance(torch.zeros(first), torch.zeros(second))


def test_without_lpips_weights_the_bundled_distance_is_used(no_weights: Path) -> None:
    assert isinstance(best_available(), Bundled)
    told = describe()
    assert told["name"] == "editkit-faces" and told["at_hand"] == {
        "editkit-faces": True,
        "lpips-alex": False,
        "lpips-vgg": False,
    }
    assert str(no_weights) in str(told["weights_folder"])
    assert not list(no_weights.rglob("*.pth")), "something was downloaded"
    with pytest.raises(MissingWeightsError, match=r"alexnet-owt-7be5be79\.pth"):
        LPIPS(net="alex")


def test_unknown_trunk() -> None:
    with pytest.raises(UsageError, match="alex, vgg"):
        LPIPS(net="resnet")  # type: ignore[arg-type]


def write_trunk(folder: Path, net: str) -> None:
    """A file as torchvision publishes it, with random weights."""
    model = lpips_model(net)
    tensors = {f"features.{key.split('.', 1)[1]}": value for key, value in model.net.state_dict().items()}
    path = folder / "hub" / "checkpoints" / LPIPS_TRUNKS[net]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**tensors, "classifier.1.weight": torch.zeros(2, 2)}, path)


def test_lpips_with_weights_at_hand_equals_the_package(no_weights: Path) -> None:
    write_trunk(no_weights, "alex")
    metric = best_available()
    assert isinstance(metric, LPIPS) and metric.name == "lpips-alex" and describe()["name"] == "lpips-alex"
    package = lpips_model("alex")
    load_trunk(package, trunk_path("alex"))
    a, b = pictures(2), pictures(2, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(metric.distance(a, b), package(a, b).flatten(), rtol=1e-4, atol=1e-6)
    units = lpips_units(package, a)
    assert float(lpips_distance(package, units, units).abs().max()) == 0
    prepared = metric.prepare(b[:1])
    image = a.clone().requires_grad_()
    prepared.distance(image).sum().backward()
    assert image.grad is not None and image.grad.abs().max() > 0
    torch.testing.assert_close(prepared.distance(a), metric.distance(a, b[:1]))


def test_damaged_lpips_weights_are_refused_and_the_bundled_distance_steps_in(
    no_weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = no_weights / "hub" / "checkpoints" / LPIPS_TRUNKS["alex"]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not weights at all")
    with pytest.raises(CheckpointError, match="fetch it again"):
        LPIPS(net="alex")
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not what torchvision publishes"):
        LPIPS(net="alex")
    assert isinstance(best_available(), Bundled)
    assert "bundled distance is used instead" in caplog.text


def test_describe_names_the_distance_in_use() -> None:
    told = describe(Bundled())
    assert told["name"] == "editkit-faces" and "different people" in str(told["unit"])
    assert perceptual.bundled_weights().is_file()


_STUB = """
import torch
# What torchvision does on import: registering a fake kernel fails where its compiled operators did not load.
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets
@torch.library.register_fake("torchvision::qnms")
def qnms(dets, scores, iou_threshold):
    return dets
from torchvision import models
"""


def run_with_stub(folder: Path, source: str, code: str) -> subprocess.CompletedProcess[str]:
    package = folder / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    (package / "models.py").write_text("loaded = True\n")
    start = f"import sys\nsys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]\n"
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=120)


def test_the_remedy_imports_a_torchvision_whose_operators_did_not_load(tmp_path: Path) -> None:
    bare = run_with_stub(tmp_path, _STUB, "import torchvision")
    assert "torchvision::nms does not exist" in bare.stderr  # the illness itself
    (tmp_path / "again").mkdir()
    code = "from editkit.torchvision_remedy import import_torchvision\nprint(import_torchvision().models.loaded)"
    cured = run_with_stub(tmp_path / "again", _STUB, code)
    assert cured.returncode == 0 and cured.stdout.strip() == "True", cured.stderr


def test_the_remedy_leaves_other_failures_alone(tmp_path: Path) -> None:
    code = "from editkit.torchvision_remedy import import_torchvision\nimport_torchvision()"
    failed = run_with_stub(tmp_path, "raise RuntimeError('something else')", code)
    assert failed.returncode != 0 and "something else" in failed.stderr


def test_lpips_that_does_not_import_is_a_clear_message(tmp_path: Path) -> None:
    code = (
        "from editkit.torchvision_remedy import import_lpips\nfrom editkit.errors import MissingWeightsError\n"
        "try:\n    import_lpips()\nexcept MissingWeightsError as error:\n    print(error)"
    )
    told = run_with_stub(tmp_path, "raise ImportError('no such build')", code)
    assert "no such build" in told.stdout and "pip install lpips" in told.stdout, told.stderr
