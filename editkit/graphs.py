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
Phase = Callable[[dict[str, Tensor]], dict[str, Tensor]]


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


class Phases:
    """Functions of inputs of fixed shapes that change their module's state in place: run as they are at first, then
    recorded each under its name and replayed. Off a GPU, or switched off, they always run as they are.

    A function must not wait for the device, must return fresh scalars or tensors, and everything it reads beside its
    inputs must stay where it is in memory: call ``forget`` when that changed.
    """

    WARM_UP = 3  # runs that compile kernels and make workspaces

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.recording = enabled(device)
        self.forget()

    def forget(self) -> None:
        """Drops the recordings."""
        self._runs: dict[str, int] = {}
        self._given: dict[str, dict[str, Tensor]] = {}
        self._recorded: dict[str, tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]] = {}

    def run(self, name: str, function: Phase, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """``function`` of ``given`` (tensors of the CPU, brought to the device); its results are the caller's."""
        if not self.recording:
            return function({key: value.to(self.device) for key, value in given.items()})
        if name not in self._given:
            self._given[name] = {key: value.to(self.device) for key, value in given.items()}
        kept = self._given[name]
        for key, value in given.items():
            kept[key].copy_(value.pin_memory(), non_blocking=True)
        runs = self._runs[name] = self._runs.get(name, 0) + 1
        if runs <= self.WARM_UP:
            return self._aside(function, kept)
        if name not in self._recorded and not self._record(name, function, kept):
            return function(kept)
        graph, made = self._recorded[name]
        graph.replay()
        return {key: value.clone() for key, value in made.items()}

    def _aside(self, function: Phase, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        side, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            made = function(kept)
        current.wait_stream(side)
        return made

    def _record(self, name: str, function: Phase, kept: dict[str, Tensor]) -> bool:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                made = function(kept)
        except RuntimeError as error:
            log.warning("no CUDA graph of %s (%s): kernels are launched on their own", name, str(error).splitlines()[0])
            self.recording = False
            return False
        self._recorded[name] = graph, made
        return True
