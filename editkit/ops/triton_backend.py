"""Whether the Triton kernels can run a tensor, and what their launches share.

Triton is imported on first use; a GPU without it runs the plain torch path, after one warning. With TRITON_INTERPRET=1
in the environment before Triton is imported, tensors of the CPU run through Triton's interpreter: how the arithmetic
of the kernels is tested where no GPU is.
"""

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from editkit.ops.backends import current_backend

log = logging.getLogger(__name__)

DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # storage; sums are float32. float64 runs on plain torch


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether Triton can be imported; says so once if not."""
    try:
        import triton  # noqa: F401
    except ImportError as error:
        log.warning("Triton is not usable (%s): GPU tensors run on the slower polyphase backend", error)
        return False
    return True


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on tensors of the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")


def wanted(x: Tensor) -> bool:
    """Whether the backend in force gives ``x`` to the kernels; that they take its shape is for each to say."""
    backend = current_backend()
    on_gpu = x.device.type == "cuda" or (backend == "triton" and x.device.type == "cpu" and interpreted())
    return on_gpu and backend in ("auto", "triton") and x.dtype in DTYPES and x.numel() > 0 and available()


@lru_cache(maxsize=64)
def warn_once(reason: str) -> None:
    """One line a reason: what no fused kernel takes although one was wanted."""
    log.warning("no fused Triton kernel for %s: it runs in several slower passes", reason)


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it that of ``x``."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()


def processors(x: Tensor) -> int:
    """Multiprocessors of the GPU; one for the interpreter, which runs programs in turn."""
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.device.type == "cuda" else 1


_taps: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def taps_of(f: Tensor) -> tuple[float, ...]:
    """The entries of a filter, row by row. Read once from the GPU: a filter is a buffer, used at every step.

    A filter that is changed in place is read again.
    """
    version = -1 if f.is_inference() else f._version
    kept = _taps.get(f)
    if kept is None or kept[0] != version or version < 0:
        kept = (version, tuple(f.detach().double().flatten().tolist()))
        _taps[f] = kept
    return kept[1]
