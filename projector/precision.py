"""Mixed precision: the layers of a search in bfloat16 where an NVIDIA GPU does that faster, the rest in float32.

bfloat16 has the range of float32, so that gradients need no scaling. What a network runs in float16 by its own
definition (``num_fp16_res``) stays so, with this or without.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from editkit.errors import UsageError


def mixed(device: torch.device, wanted: bool) -> AbstractContextManager[object]:
    """A context in which convolutions and matrix products run in bfloat16; nothing where it is not ``wanted``."""
    if not wanted:
        return nullcontext()
    check_precision(device, wanted)
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)  # a cache would outlive a CUDA graph


def check_precision(device: torch.device, wanted: bool) -> None:
    """Raises UsageError where mixed precision is ``wanted`` and does not belong."""
    if wanted and device.type != "cuda":
        raise UsageError(
            f"mixed precision is for NVIDIA GPUs and does not help on {device.type}; leave --mixed-precision out"
        )
