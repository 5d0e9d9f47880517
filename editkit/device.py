"""Which device work runs on: always named, never assumed."""

import torch

from editkit.errors import DeviceError

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """``auto`` is cuda, else mps, else cpu; other names are checked.

    Raises:
        DeviceError: unknown, or not on this machine.
    """
    if isinstance(name, torch.device):
        return name
    kind, _, index = name.partition(":")
    if kind not in DEVICES or (":" in name and not (index.isdecimal() and kind != "auto")):
        raise DeviceError(
            f"unknown device {name!r}; choose one of {', '.join(DEVICES)}; one of several is cuda:0, cuda:1 and so on"
        )
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind == "auto":
        return torch.device(next(k for k in ("cuda", "mps", "cpu") if present[k]))
    if not present[kind]:
        at_hand = ", ".join(k for k, there in present.items() if there)
        raise DeviceError(f"device {name!r} is not on this machine (or this torch was built without it); use {at_hand}")
    return torch.device(name)
