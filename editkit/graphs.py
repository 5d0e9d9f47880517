"""CUDA graphs: a fixed sequence of kernels recorded once and launched as one, for loops whose shapes never change.

Small generators spend more time launching kernels than running them; a step of a projection launches some hundreds.
Only on NVIDIA GPUs; EDITKIT_CUDA_GRAPHS=0 switches them off. Where recording fails the function runs as it is, after a
warning. Recorded outputs live in memory that the next call overwrites.
"""

import logging
import os
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Function = Callable[[Tensor], Tensor]


def enabled(device: torch.device) -> bool:
    """Whether functions of tensors on ``device`` are recorded."""
    return device.type == "cuda" and os.environ.get("EDITKIT_CUDA_GRAPHS", "1") != "0"


def differentiable(function: Function, sample: Tensor) -> Function:
    """``function`` with its forward and its backward recorded for tensors like ``sample`` (shape, dtype, gradient).

    ``function`` must depend on nothing that changes but its argument, and its parameters must be frozen. The output of
    a call is valid until the next.
    """
    if not enabled(sample.device):
        return function
    example = sample.detach().clone().requires_grad_(sample.requires_grad)
    return _recorded(function, lambda: torch.cuda.make_graphed_callables(function, (example,)))  # type: ignore[arg-type,return-value]


def inference(function: Function, sample: Tensor) -> Function:
    """``function`` without gradients, recorded for tensors like ``sample``. The output of a call is its own."""
    if not enabled(sample.device):
        return function

    def record() -> Function:
        given = sample.detach().clone()
        side = torch.cuda.Stream(given.device)
        side.wait_stream(torch.cuda.current_stream(given.device))
        with torch.no_grad(), torch.cuda.stream(side):
            for _ in range(3):  # kernels are compiled and workspaces made before anything is recorded
                function(given)
        torch.cuda.current_stream(given.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            made = function(given)

        def replay(x: Tensor) -> Tensor:
            given.copy_(x)
            graph.replay()
            return made.clone()

        return replay

    return _recorded(function, record)


def _recorded(function: Function, record: Callable[[], Function]) -> Function:
    try:
        return record()
    except RuntimeError as error:
        log.warning("CUDA graph not recorded (%s): every kernel is launched on its own", str(error).splitlines()[0])
        return function
