"""Fine-tuning: it begins from the weights, and what does not fit is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from small_training import same
from training_runs import COMMON

from editkit import errors
from editkit.checkpoints.native import read_checkpoint, write_checkpoint
from editkit.cli import main
from train.state_file import load_state
from train.transfer import Begun, check_shapes


def test_fine_tuning_begins_from_the_weights(toys: Path, trained: Path, tmp_path: Path) -> None:
    source = str(trained / "generator.safetensors")
    options = ["--out", str(tmp_path / "tuned"), "--from", source, "--freeze-d", "2", "--kimg", "0.008", "--quiet"]
    assert main(["train", "--data", str(toys), *COMMON, *options]) == 0
    tuned = load_state(tmp_path / "tuned" / "state.safetensors")
    first = load_state(trained / "state.safetensors")
    assert same(tuned["config"]["generator"], first["config"]["generator"])
    moved = {k: not torch.equal(v, first["discriminator"][k]) for k, v in tuned["discriminator"].items()}
    assert not moved["b16.fromrgb.weight"] and not moved["b16.conv0.weight"] and moved["b4.out.weight"]
    assert (tuned["config"]["average_ramp"], tuned["config"]["speed_kimg"]) == (None, 100.0)
    near = [float((v - first["average"][k]).abs().max()) for k, v in tuned["generator"].items() if k.endswith("weight")]
    assert max(near) < 0.1


def test_mismatches_name_the_option(toys: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = str(trained / "generator.safetensors")
    code = main(["train", "--data", str(toys), "--out", str(tmp_path), "--from", source, "--resolution", "32"])
    assert code == 1 and "--resolution 16" in capsys.readouterr().err


def test_a_discriminator_that_does_not_fit_is_named(
    toys: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of other pictures, and one whose arguments are not those of its tensors: every tensor is named."""
    source, beside = tmp_path / "generator.safetensors", tmp_path / "discriminator.safetensors"
    shutil.copy(trained / source.name, source)
    judge = read_checkpoint(trained / beside.name)

    def refused(tensors: dict[str, torch.Tensor], **changes: object) -> str:
        header = judge.header | {"arguments": judge.header["arguments"] | changes}
        write_checkpoint(beside, tensors, {name: header[name] for name in ("kind", "arguments", "name", "training")})
        options = ["--out", str(tmp_path / "out"), "--from", str(source), "--kimg", "0.008"]
        assert main(["train", "--data", str(toys), *COMMON, *options]) == 1
        return capsys.readouterr().err

    text = refused(judge.tensors, img_resolution=32, img_channels=1)
    assert f"{beside} has img_resolution 32, the data 16; img_channels 1, the data 3; move it away to begin" in text
    tensors = dict(judge.tensors)
    tensors["b4.out.bias"], tensors["more"] = torch.zeros(7), tensors.pop("b4.fc.bias")
    text = refused(tensors)
    assert "b4.out.bias is [7] there and [1] here; b4.fc.bias is not there; more is there alone; move it" in text


def test_the_plan_of_fine_tuning_names_the_networks_and_the_settings(
    toys: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--out", str(tmp_path / "no"), "--from", str(trained / "generator.safetensors"), "--dry-run"]
    assert main(["train", "--data", str(toys), *COMMON, *options]) == 0
    assert "stylegan3 of generator.safetensors, settings of tiny: " in capsys.readouterr().out
    assert main(["train", "--data", str(toys), *options, "--recipe", "stylegan2"]) == 2
    text = capsys.readouterr().err
    assert "stylegan2 networks, generator.safetensors is a stylegan3" in text and "stylegan3-r or small or tiny" in text


def test_classes_that_do_not_fit_name_the_option() -> None:
    begun = Begun(
        kind="stylegan3", id="", arguments={"img_resolution": 16}, generator={}, discriminator_arguments=None,
        discriminator=None, source="mine",
    )  # fmt: skip
    with pytest.raises(errors.CheckpointError, match="mine has c_dim 0, the data 3; leave --cond out"):
        check_shapes(begun, resolution=16, channels=3, c_dim=3)
    with pytest.raises(errors.CheckpointError, match=r"img_resolution 16, the data 32; .*; it has c_dim 0, the data 3"):
        check_shapes(begun, resolution=32, channels=3, c_dim=3)
    begun.arguments["c_dim"] = 5
    with pytest.raises(errors.CheckpointError, match="give --cond with data of 5 classes"):
        check_shapes(begun, resolution=16, channels=3, c_dim=3)
