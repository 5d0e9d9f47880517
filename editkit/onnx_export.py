"""A generator as an ONNX file, for programs without torch.

Convention: inputs are ``w`` [N, num_ws, w_dim], or ``z`` [N, z_dim] (and ``label`` [N, c_dim] where the generator takes
one), and ``transform`` [N, 3, 3], forward as in ``editkit.transform``: it says where the content goes, the graph
inverts it, and it takes the place of one that is stored in the network. The output is ``image`` [N, channels, R, R],
RGB, about in [-1, 1]. All are float32.

The graph is put together from the network's weights (``onnx_stylegan3``) rather than traced: torch's exporters take a
minute for a small network and make constants of what depends on the batch, or graphs of the slow reference operations.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from editkit import __version__
from editkit.errors import CheckpointError, UsageError
from editkit.files import write_bytes
from editkit.generator import GeneratorSpec, NetworkGenerator
from editkit.latent import Latent
from editkit.seeds import z_from_seeds
from editkit.transform import Transform

if TYPE_CHECKING:
    from editkit.networks.stylegan3 import StyleGAN3Generator

KINDS = ("stylegan3",)
TOLERANCE = 1e-4  # of the range of the image
INPUTS = ("w", "z")
Input = Literal["w", "z"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedModel:
    """What was written.

    Attributes:
        path: the file; size: its bytes; inputs: name -> shape, "N" where any number goes.
        error: the largest difference from torch that was seen, as a part of the image's range.
    """

    path: Path
    size: int
    inputs: dict[str, list[int | str]]
    error: float


def export_onnx(
    generator: NetworkGenerator,
    path: str | os.PathLike[str],
    *,
    input: Input = "w",
    batch: int | None = None,
    truncation_psi: float = 1.0,
) -> ExportedModel:
    """Write ``generator`` at its resolution as ONNX, after comparing it with torch in ONNX Runtime.

    The file's metadata name the generator's id, its licence and the editkit version.

    Args:
        generator: on any device; it is not changed.
        path: the .onnx to write.
        input: "w" takes rows of W+, "z" includes the mapping.
        batch: samples a call; None for any number.
        truncation_psi: built in, with input "z" only.

    Raises:
        UsageError: an option out of range, or packages that are not installed.
        CheckpointError: a kind that cannot be exported, or a graph that does not compute what torch does.
        OutputError: it cannot be written.
    """
    spec = generator.spec
    _check(spec, input=input, batch=batch, truncation_psi=truncation_psi, path=Path(path))
    runtime = _runtime()
    inputs = _inputs(spec, input, batch or "N")
    with torch.no_grad():
        data: bytes = _model(generator, inputs, truncation_psi=truncation_psi).SerializeToString()
    error = _difference(runtime, data, generator, list(inputs), count=batch or 2, truncation_psi=truncation_psi)
    if not error <= TOLERANCE:
        raise CheckpointError(
            f"the ONNX graph of {spec.name!r} differs from torch by {error:.2g} of the range, at most {TOLERANCE:g} is "
            "allowed; nothing was written, please report it"
        )
    write_bytes(path, data)
    return ExportedModel(path=Path(path), size=len(data), inputs=inputs, error=error)


def _inputs(spec: GeneratorSpec, input: Input, count: int | str) -> dict[str, list[int | str]]:
    shapes: dict[str, list[int | str]] = {"w": [count, spec.num_ws, spec.w_dim]}
    if input == "z":
        shapes = {"z": [count, spec.z_dim]}
        if spec.c_dim:
            shapes["label"] = [count, spec.c_dim]
    return {**shapes, "transform": [count, 3, 3]}


def _model(generator: NetworkGenerator, inputs: dict[str, list[int | str]], *, truncation_psi: float) -> Any:
    from editkit.onnx_graph import OnnxGraph
    from editkit.onnx_stylegan3 import add_mapping, add_synthesis

    network = cast("StyleGAN3Generator", generator._network)  # _check has seen to it
    spec, graph = generator.spec, OnnxGraph()
    if "z" in inputs:
        label = "label" if "label" in inputs else None
        ws = [add_mapping(graph, network.mapping, "z", label, truncation_psi)] * spec.num_ws
    else:
        rows = [graph.cut("w", 1, index, index + 1) for index in range(spec.num_ws)]
        ws = [graph.op("Squeeze", row, graph.ints(1)) for row in rows]
    add_synthesis(graph, network.synthesis, ws, "transform", output="image")
    count = inputs["transform"][0]
    return graph.model(
        inputs,
        "image",
        [count, spec.channels, spec.resolution, spec.resolution],
        name=spec.name,
        version=__version__,
        metadata=_metadata(spec, truncation_psi if "z" in inputs else None),
    )


def _metadata(spec: GeneratorSpec, truncation_psi: float | None) -> dict[str, str]:
    facts: dict[str, Any] = {
        "generator": spec.id,
        "parent": spec.parent_id,
        "name": spec.name,
        "kind": spec.kind,
        "domain": spec.domain,
        "alignment": spec.alignment,
        "licence": spec.licence,
        "truncation_psi": truncation_psi,
        "transform": "forward: where the content goes; x right, y down, the image's width is 1, its centre the origin",
        "written_by": f"editkit {__version__}",
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _difference(
    runtime: Any, data: bytes, generator: NetworkGenerator, names: list[str], *, count: int, truncation_psi: float
) -> float:
    """The largest difference between ONNX Runtime and torch, over the range of torch's images."""
    spec = generator.spec
    z = z_from_seeds(range(count), spec.z_dim)
    label = torch.eye(spec.c_dim)[torch.arange(count) % spec.c_dim] if spec.c_dim else None
    moved = (Transform.translate(0.1, -0.05) @ Transform.rotate(20) @ Transform.scale(1.2)).expand(count)
    with torch.no_grad():
        latent: Latent = generator.map(z, label=label, truncation_psi=truncation_psi)
        expected = generator.synthesize_channels(latent, transform=moved).float().cpu().numpy()
    given: dict[str, Tensor | None] = {"z": z, "label": label, "w": latent.tensor, "transform": moved.matrix.float()}
    fed = {name: value.cpu().numpy() for name in names if (value := given[name]) is not None}
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["image"], fed)
    return float(np.abs(found - expected).max() / max(float(np.ptp(expected)), 1e-12))


def _runtime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"ONNX export needs {error.name}: pip install onnx onnxruntime") from error
    return onnxruntime


def _check(spec: GeneratorSpec, *, input: str, batch: int | None, truncation_psi: float, path: Path) -> None:
    if spec.kind not in KINDS:
        raise CheckpointError(f"{spec.name!r} is of kind {spec.kind!r}; exported are {', '.join(KINDS)}")
    if path.suffix != ".onnx":
        raise UsageError(f"an ONNX file ends in .onnx, got {path.name!r}")
    if input not in INPUTS:
        raise UsageError(f"the input is one of {', '.join(INPUTS)}, got {input!r}")
    if batch is not None and not 1 <= batch <= 1024:
        raise UsageError(f"batch is 1 to 1024, or none for any number, got {batch}")
    if not -2 <= truncation_psi <= 2 or (input != "z" and truncation_psi != 1):
        raise UsageError(f"truncation_psi is -2 to 2 and goes with input z, got {truncation_psi:g} with {input}")
