"""Building an ONNX graph node by node, of standard operators only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

OPSET = 17


class OnnxGraph:
    """Nodes and constants, each by a name that is made up here; values are float32 unless they are shapes."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node; gives the name of its one output, ``name`` where it matters."""
        from onnx import helper

        output = name or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: npt.ArrayLike | Tensor, dtype: type = np.float32) -> str:
        """A constant, kept once however often it is asked for."""
        from onnx import numpy_helper

        held = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        array: npt.NDArray[Any] = np.ascontiguousarray(np.asarray(held, dtype=dtype))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name = f"constant_{len(self._constants)}"
            self._constants.append(numpy_helper.from_array(array, name))
            self._known[key] = name
        return self._known[key]

    def ints(self, *values: int) -> str:
        """A constant list of integers: a shape, axes or indices."""
        return self.constant(list(values), np.int64)

    def add(self, x: str, value: float | str | Tensor) -> str:
        """``x + value``."""
        return self.op("Add", x, value if isinstance(value, str) else self.constant(value))

    def mul(self, x: str, value: float | str | Tensor) -> str:
        """``x * value``; nothing where that is the number 1."""
        if isinstance(value, float | int) and value == 1:
            return x
        return self.op("Mul", x, value if isinstance(value, str) else self.constant(value))

    def rsqrt(self, x: str) -> str:
        """``1 / sqrt(x)``."""
        return self.op("Reciprocal", self.op("Sqrt", x))

    def unsqueeze(self, x: str, *axes: int) -> str:
        """``x`` with axes of size 1 put in."""
        return self.op("Unsqueeze", x, self.ints(*axes))

    def cut(self, x: str, axis: int, first: int, last: int) -> str:
        """``x`` from ``first`` to before ``last`` along an axis."""
        return self.op("Slice", x, self.ints(first), self.ints(last), self.ints(axis))

    def model(
        self,
        inputs: Mapping[str, Sequence[int | str]],
        output: str,
        shape: Sequence[int | str],
        *,
        name: str,
        version: str,
        metadata: Mapping[str, str],
    ) -> Any:
        """The checked ``ModelProto``; inputs and output are float32, a text in a shape stands for any size."""
        import onnx
        from onnx import TensorProto, helper

        def value(title: str, sizes: Sequence[int | str]) -> Any:
            return helper.make_tensor_value_info(title, TensorProto.FLOAT, list(sizes))

        graph = helper.make_graph(
            self._nodes,
            name,
            [value(title, sizes) for title, sizes in inputs.items()],
            [value(output, shape)],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=8,  # that of opset 17: older runtimes read it too
            producer_name="editkit",
            producer_version=version,
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model
