"""`editkit doctor` and the table of optional weights behind it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from editkit import cli, doctor, optional_weights
from editkit.errors import MissingWeightsError


def test_report_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "PROBLEM" not in out
    assert f"torch {torch.__version__}" in out
    for name in ("landmarks.safetensors", "features.safetensors"):
        assert name in out
    for one in optional_weights.ALL:
        assert str(one.path) in out


def test_sizes_are_told_in_units_that_show_them(capsys: pytest.CaptureFixture[str]) -> None:
    """A direction has a few kB, which are 0.0 MiB."""
    assert cli.main(["doctor"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if ".safetensors  " in line]
    assert any(re.search(r"^ +[\d.]+ MiB  ", line) for line in lines)
    assert any(re.search(r"^ +\d+\.\d kB  .*yaw", line) for line in lines)
    assert not any(re.search(r" 0\.0 (MiB|kB)", line) for line in lines)


def test_report_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["device"]["auto"].split(":")[0] in {"cpu", "cuda", "mps"}
    assert report["memory"]["free_bytes"] > 2**20
    assert report["backends"]["errors"]["reference"] == 0
    assert report["backends"]["default"] in report["backends"]["errors"]
    assert all(one["bytes"] > 0 for one in report["bundled"])


def test_missing_bundled_weights_are_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "MODELS", tmp_path)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert str(tmp_path / "landmarks.safetensors") in out
    assert "no bundled generator" in out and "reinstall" in out


def test_a_damaged_bundled_file_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "features.safetensors").write_bytes(b"\x05\0\0\0\0\0\0\0{oops")
    monkeypatch.setattr(doctor, "MODELS", tmp_path)
    assert any("features.safetensors" in problem for problem in doctor.examine()["problems"])


def test_a_backend_that_computes_nonsense_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    filtered = doctor._filtered
    monkeypatch.setattr(doctor, "_filtered", lambda name: filtered(name) * (1.01 if name == "polyphase" else 1))
    assert any("polyphase" in problem for problem in doctor.examine()["problems"])


def test_a_package_that_is_not_installed_is_a_problem_unless_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    assert any("no-such-package" in problem for problem in doctor.examine()["problems"])
    monkeypatch.setattr(doctor, "OPTIONAL_PACKAGES", {"no-such-package": "nothing"})
    assert not any("no-such-package" in problem for problem in doctor.examine()["problems"])


@pytest.mark.parametrize("variables", [{}, {"XDG_CACHE_HOME": "cache"}, {"TORCH_HOME": "torch"}])
def test_weights_folder_is_where_torch_hub_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str]
) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert optional_weights.weights_folder() == Path(torch.hub.get_dir()) / "checkpoints"


def test_requiring_missing_weights_says_what_goes_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    trunk = optional_weights.LPIPS_TRUNKS["alex"]
    with pytest.raises(MissingWeightsError, match=r"alexnet-owt-7be5be79\.pth") as caught:
        optional_weights.require(trunk)
    assert str(trunk.path.parent) in str(caught.value)
    trunk.path.parent.mkdir(parents=True)
    trunk.path.write_bytes(b"")
    assert not trunk.at_hand
    trunk.path.write_bytes(b"weights")
    optional_weights.require(trunk)
