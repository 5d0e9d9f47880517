"""The allow-list: every global that an official pickle may name, and the inert stand-in that answers to it.

No stand-in runs anything, opens anything, or keeps the source code that the official files embed (``module_src``): a
file's code is skipped unread. Both spellings of numpy's module (before and after 2.0) are known.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from editkit.checkpoints.machine import Budget, Inert, Rules
from editkit.checkpoints.storage import MAX_DIMENSIONS, StorageClaim, TensorClaim, build_tensor, read_storage
from editkit.errors import CheckpointError, UnsafeCheckpointError

# numpy's code of a scalar -> struct's code of the same size.
_SCALARS = {
    "f8": "<d", "f4": "<f", "f2": "<e", "b1": "<?",
    "i8": "<q", "i4": "<i", "i2": "<h", "i1": "<b",
    "u8": "<Q", "u4": "<I", "u2": "<H", "u1": "<B",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Module:
    """A network part: a class of the official code, known by its name only, or one of torch.nn. ``state`` is data."""

    class_name: str
    state: dict[str, object]


@dataclass(slots=True)
class PlainModule(Inert):
    """A torch.nn module, whose state arrives after it is made."""

    class_name: str
    state: dict[str, object]

    def set_state(self, state: object) -> None:
        if type(state) is not dict or self.state:
            raise UnsafeCheckpointError(f"the state of {self.class_name} is not a dict; not an official checkpoint")
        self.state = state


@dataclass(slots=True)
class NumpyType(Inert):
    """A numpy dtype of plain numbers, little-endian."""

    code: str

    def set_state(self, state: object) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise CheckpointError("numpy data in another byte order; only little-endian data can be read")


@dataclass(slots=True)
class NumpyArray(Inert):
    """A numpy array. Networks keep some as attributes that follow from their arguments, so its values are not kept."""

    def set_state(self, state: object) -> None:
        match state:
            case (int(), shape, kind, _, data):
                _check_array(shape, kind, data)
            case _:
                raise UnsafeCheckpointError(_WRONG_SIZE)


_WRONG_SIZE = "a numpy array whose size is not that of its data; the file is hostile or damaged"


def _check_array(shape: object, kind: object, data: object) -> None:
    """Raises UnsafeCheckpointError unless ``data`` are the bytes of an array of this shape and type."""
    match shape, kind, data:
        case tuple(), NumpyType(code=code), memoryview() if len(shape) <= MAX_DIMENSIONS:
            size = struct.calcsize(_SCALARS[code])
            for extent in shape:
                size *= extent if type(extent) is int and extent >= 0 else -1
            if size == len(data):
                return
    raise UnsafeCheckpointError(_WRONG_SIZE)


def rules_for(file_size: int) -> Rules:
    """The rules for one official file of ``file_size`` bytes."""
    budget = Budget(tensor_bytes=file_size)

    def load_from_bytes(blob: object) -> StorageClaim:
        return read_storage(blob, budget)

    def rebuild_tensor(
        storage: object,
        offset: object,
        shape: object,
        stride: object,
        _requires_grad: object = None,
        _hooks: object = None,
        _metadata: object = None,
    ) -> TensorClaim:
        return build_tensor(storage, offset, shape, stride, budget=budget)

    allowed: dict[tuple[str, str], Callable[..., object]] = {
        **_FIXED,
        ("torch.storage", "_load_from_bytes"): load_from_bytes,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    }
    return Rules(globals=allowed, budget=budget)


def _persistent_object(meta: object) -> Module:
    if type(meta) is not dict or meta.get("type") != "class":
        raise CheckpointError("the pickle holds an object that is not a network class; not an official checkpoint")
    name, state = meta.get("class_name"), meta.get("state")
    if type(name) is not str or type(state) is not dict:
        raise CheckpointError("the pickle holds a network without name or state; not an official checkpoint")
    return Module(name[:80], state)


def _rebuild_parameter(tensor: object, _requires_grad: object = None, _hooks: object = None) -> TensorClaim:
    if not isinstance(tensor, TensorClaim):
        raise CheckpointError("damaged pickle: a parameter without a tensor; get the file again")
    return tensor


def _empty_dict() -> dict[str, object]:
    return {}


def _new_set(items: object = ()) -> set[str]:
    if type(items) not in (list, tuple) or not all(type(item) is str for item in items):  # type: ignore[attr-defined]
        raise UnsafeCheckpointError("a set of something other than text; not an official checkpoint")
    return set(items)  # type: ignore[call-overload]


def _numpy_type(code: object, *_flags: object) -> NumpyType:
    if code not in _SCALARS:
        raise UnsafeCheckpointError("numpy data that is not plain numbers; not an official checkpoint")
    return NumpyType(str(code))


def _numpy_scalar(kind: object, data: object = None) -> float | int | bool:
    if not isinstance(kind, NumpyType) or not isinstance(data, memoryview):
        raise UnsafeCheckpointError("a numpy number without plain type or data; not an official checkpoint")
    return struct.unpack(_SCALARS[kind.code], data)[0]


def _numpy_array(*_: object) -> NumpyArray:
    return NumpyArray()


def _numpy_array_of_buffer(data: object, kind: object, shape: object, *_order: object) -> NumpyArray:
    """An array as pickle protocol 5 has it (PEP 574)."""
    _check_array(shape, kind, data)
    return NumpyArray()


def _numpy_array_class(*_: object) -> NumpyArray:
    raise UnsafeCheckpointError("numpy.ndarray is called; official checkpoints only name it")


def _embedding() -> PlainModule:
    return PlainModule("Embedding", {})


_FIXED: Mapping[tuple[str, str], Callable[..., object]] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.nn.modules.sparse", "Embedding"): _embedding,
    ("collections", "OrderedDict"): _empty_dict,
    ("dnnlib.util", "EasyDict"): _empty_dict,
    ("builtins", "set"): _new_set,
    ("numpy", "dtype"): _numpy_type,
    ("numpy", "ndarray"): _numpy_array_class,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
    ("numpy.core.multiarray", "_reconstruct"): _numpy_array,
    ("numpy._core.multiarray", "_reconstruct"): _numpy_array,
    ("numpy.core.numeric", "_frombuffer"): _numpy_array_of_buffer,
    ("numpy._core.numeric", "_frombuffer"): _numpy_array_of_buffer,
}
