"""Choosing a device."""

from __future__ import annotations

import pytest
import torch

from editkit.device import resolve_device
from editkit.errors import DeviceError


def _pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_best(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    _pretend(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == torch.device(expected)
    assert resolve_device() == torch.device(expected)
    assert resolve_device("cpu") == torch.device("cpu")


def test_what_is_absent_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, cuda=False, mps=True)
    with pytest.raises(DeviceError, match=r"'cuda:1' is not on this machine.*use cpu, mps"):
        resolve_device("cuda:1")


def test_unknown_names_are_refused() -> None:
    for name in ("gpu", "", "tpu:0"):
        with pytest.raises(DeviceError, match="choose one of auto, cpu, cuda, mps"):
            resolve_device(name)


def test_devices_and_indices_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, cuda=True, mps=False)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert resolve_device(torch.device("meta")) == torch.device("meta")
    for name in ("cuda:x", "cpu:", "auto:1"):
        with pytest.raises(DeviceError):
            resolve_device(name)
