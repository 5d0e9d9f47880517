"""``editkit train`` in stages: a head on a frozen stem, classes, resuming in the middle, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_training import same
from toy_pictures import write_toys
from training_runs import state_of

from editkit.checkpoints.native import read_checkpoint
from editkit.cli import main
from editkit.errors import UsageError
from editkit.generator import load_generator
from train.class_embedding import class_means
from train.config import TrainConfig
from train.dataset import open_dataset
from train.projected_discriminator import FaceBackbone
from train.run_cli import RECIPES
from train.stages import kept_names
from train.state_file import load_state
from train.training import Training

COMMON = ("--recipe", "tiny-xl", "--batch", "4", "--metric", "none", "--threads", "1", "--quiet", "--device", "cpu")
STAGES = ("--stages", "16,32", "--stage-kimg", "0.008")


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures in three classes, by the colour of the disc."""
    folder = write_toys(tmp_path_factory.mktemp("data") / "toys", count=24, side=32)
    names = sorted(path.name for path in folder.glob("*.png"))
    labels = [[name, index % 3] for index, name in enumerate(names)]
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


def train(toys: Path, out: Path, *options: str) -> int:
    return main(["train", "--data", str(toys), "--out", str(out), *COMMON, *options])


@pytest.fixture(scope="module")
def grown(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages of classes, each of two steps."""
    out = tmp_path_factory.mktemp("runs") / "grown"
    assert train(toys, out, "--cond", *STAGES, "--kimg", "0.008") == 0
    return out


def test_the_stem_stays_and_the_head_learns(grown: Path) -> None:
    below = read_checkpoint(grown / "stages" / "0016" / "generator.safetensors")
    above = read_checkpoint(grown / "generator.safetensors")
    state = load_state(grown / "state.safetensors")
    config = TrainConfig.from_json(state["config"])
    assert (config.resolution, config.c_dim, config.head_layers, config.begun) == (32, 3, 5, below.header["id"])
    training = Training(config)
    fresh = {name: value.clone() for name, value in training.generator.state_dict().items()}
    kept = kept_names(training.generator, config.head_layers)
    for weights in (state["generator"], state["average"], above.tensors):
        assert all(torch.equal(weights[name], below.tensors[name]) for name in kept)
    head = [name for name in fresh if name not in kept and name.endswith((".weight", ".bias"))]
    assert head and all(not torch.equal(state["generator"][name], fresh[name]) for name in head)


def test_what_was_grown_opens_and_knows_its_classes(grown: Path) -> None:
    G = load_generator(grown / "generator.safetensors")
    assert (G.spec.kind, G.spec.resolution, G.spec.c_dim) == ("stylegan_xl", 32, 3)
    z = torch.randn(1, G.spec.z_dim)
    pictures = [G.synthesize(G.map(z, label=torch.eye(3)[i : i + 1])) for i in range(2)]
    assert pictures[0].shape == (1, 3, 32, 32) and not torch.equal(*pictures)


def test_going_on_in_the_middle_is_exact(toys: Path, grown: Path, tmp_path: Path) -> None:
    """Stopped after a step of the second stage, and started again with the same command."""
    out = tmp_path / "halves"
    assert train(toys, out, "--cond", *STAGES, "--kimg", "0.004") == 0
    first = (out / "stages" / "0016" / "state.safetensors").stat().st_mtime_ns
    assert load_state(out / "state.safetensors")["seen"] == 4
    assert train(toys, out, "--cond", *STAGES, "--kimg", "0.008") == 0
    assert (out / "stages" / "0016" / "state.safetensors").stat().st_mtime_ns == first  # done: not begun again
    assert same(state_of(grown), state_of(out))


def test_a_head_by_hand_is_the_same(toys: Path, grown: Path, tmp_path: Path) -> None:
    source = str(grown / "stages" / "0016" / "generator.safetensors")
    assert train(toys, tmp_path, "--cond", "--grow-from", source, "--kimg", "0.008") == 0
    assert same(state_of(grown), state_of(tmp_path))


def test_another_stem_is_refused_on_resume(
    toys: Path, grown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(toys, tmp_path / "other", "--cond", "--resolution", "16", "--kimg", "0.004") == 0
    source = str(tmp_path / "other" / "generator.safetensors")
    assert train(toys, grown, "--cond", "--grow-from", source, "--kimg", "0.012") == 2
    assert "begun: " in capsys.readouterr().err


def test_a_transport_copy_goes_on_and_keeps_the_stem(
    toys: Path, grown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Moved to another machine: rounded weights, but the stem is read again from its own file."""
    source = grown / "stages" / "0016" / "generator.safetensors"
    (tmp_path / "transport.safetensors").write_bytes((grown / "transport.safetensors").read_bytes())
    options = [option for option in COMMON if option != "--quiet"]
    command = ["train", "--data", str(toys), "--out", str(tmp_path), *options, "--cond", "--grow-from", str(source)]
    assert main([*command, "--kimg", "0.012"]) == 0
    assert "transport copy" in capsys.readouterr().out
    state, below = load_state(tmp_path / "state.safetensors"), read_checkpoint(source)
    training = Training(TrainConfig.from_json(state["config"]))
    kept = kept_names(training.generator, training.config.head_layers)
    assert state["seen"] == 12 and "lossy" not in state
    assert all(torch.equal(state["average"][name], below.tensors[name]) for name in kept)


def test_pictures_without_labels_are_one_class(toys: Path, tmp_path: Path) -> None:
    assert train(toys, tmp_path, *STAGES, "--kimg", "0.004") == 0
    assert load_generator(tmp_path / "generator.safetensors").spec.c_dim == 1


def test_the_embedding_begins_with_the_classes_features(toys: Path) -> None:
    data = open_dataset(toys, use_labels=True)
    means = class_means(data, FaceBackbone())
    assert means.shape == (3, 192) and means.mean(0).abs().max() < 1e-5
    assert means.square().mean() == pytest.approx(1, rel=1e-4)
    with torch.no_grad():
        images = torch.from_numpy(data.__getitems__(range(0, 24, 3)).images.numpy()).permute(0, 3, 1, 2) / 127.5 - 1
        own = FaceBackbone()(images)[-1].mean((0, 2, 3))
    similar = torch.nn.functional.cosine_similarity(own - own.mean(), means - means.mean(1, keepdim=True))
    assert means.shape[0] == 3 and similar.isfinite().all()
    with pytest.raises(UsageError, match="two classes"):
        class_means(open_dataset(toys), FaceBackbone())


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (("--stages", "16,24"), 2, "multiple"),
        (("--stages", "16,32", "--resolution", "64"), 2, "leave that out"),
        (("--stage-kimg", "1"), 2, "--stages"),
        (("--recipe", "tiny", "--stages", "16,32"), 2, "does not grow"),
        (("--from", "a.safetensors", "--stages", "16,32"), 2, "give one"),
        (("--grow-from", "a.safetensors"), 1, "a.safetensors"),
        (("--gamma", "3"), 2, "leave gamma out"),
        (("--freeze-d", "2"), 2, "--freeze-d"),
        (("--recipe", "tiny", "--features", "bundled"), 2, "--loss projected"),
        (("--guidance", "timm:test_resnet=a.pth"), 2, "--cond"),
        (("--strength", "0.5"), 2, "--augment"),
        (("--recipe", "tiny", "--embedding", "features"), 2, "StyleGAN-XL"),
    ],
)
def test_what_does_not_go_together_is_named(
    options: tuple[str, ...], code: int, text: str, toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(toys, tmp_path / "out", "--minutes", "0.01", *options) == code
    assert text in capsys.readouterr().err


def test_a_stem_must_be_a_stylegan_xl(toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(toys, tmp_path / "a", "--recipe", "tiny", "--resolution", "16", "--kimg", "0.004") == 0
    assert (
        train(toys, tmp_path / "b", "--grow-from", str(tmp_path / "a" / "generator.safetensors"), "--kimg", "0.004")
        == 1
    )
    assert "stylegan3 network" in capsys.readouterr().err


def test_a_dry_run_plans_every_stage(toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [option for option in COMMON if option != "--quiet"]
    command = ["train", "--data", str(toys), "--out", str(tmp_path / "no"), *options, *STAGES, "--cond", "--dry-run"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert text.count("s for a thousand images") == 2 and "32 px: 5 new layers" in text and "bundled-" in text
    assert not (tmp_path / "no").exists()


def test_the_command_knows_every_recipe() -> None:
    from train.config import RECIPES as known

    assert known == RECIPES
