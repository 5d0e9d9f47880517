"""Writes pickles opcode by opcode, so that a test can say exactly what a hostile file holds.

Each function returns the opcodes that leave one value on the stack.
"""

import math
import struct
from typing import Any

STORAGE_HEAD = (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x02M\xe9\x03.")  # magic, protocol version


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def raw_bytes(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def dictionary(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def storage(
    data: bytes,
    *,
    count: int | None = None,
    stored_count: int | None = None,
    kind: bytes = b"ctorch\nFloatStorage\n",
    little_endian: bool = True,
) -> bytes:
    """A call of _load_from_bytes on a nested blob; ``count`` elements are claimed, len(data) / 4 by default."""
    count = len(data) // 4 if count is None else count
    system = dictionary({"protocol_version": number(1001), "little_endian": b"\x88" if little_endian else b"\x89"})
    description = b"(" + text("storage") + kind + text("7") + text("cpu") + number(count) + b"NtQ"
    parts = [
        *STORAGE_HEAD,
        b"\x80\x02" + system + b".",
        b"\x80\x02" + description + b".",
        b"\x80\x02]" + text("7") + b"a.",
    ]
    blob = b"".join(parts) + struct.pack("<Q", count if stored_count is None else stored_count) + data
    return call("torch.storage", "_load_from_bytes", raw_bytes(blob))


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], held: bytes, *, offset: int = 0) -> bytes:
    return call(
        "torch._utils", "_rebuild_tensor_v2", held, number(offset), numbers(*shape), numbers(*stride), b"\x89", b"}"
    )


def floats(*values: float) -> bytes:
    """A vector parameter."""
    return tensor((len(values),), (1,), storage(struct.pack(f"<{len(values)}f", *values)))


def module(
    parameters: dict[str, bytes],
    *,
    modules: bytes | None = None,
    named: bytes = b"}",
    source: str = "",
    extra: bytes = b"",
) -> bytes:
    """A network part as the official code pickles it; ``extra`` are (key, value) opcodes put into its state."""
    state = dictionary(
        {
            "_parameters": dictionary(parameters),
            "_buffers": b"}",
            "_modules": b"}" if modules is None else modules,
            "_init_args": b")",
            "_init_kwargs": named,
        }
    )
    if extra:
        state += b"(" + extra + b"u"
    meta = {"type": text("class"), "version": number(6), "module_src": text(source), "class_name": text("Generator")}
    return call("torch_utils.persistence", "_reconstruct_persistent_obj", dictionary({**meta, "state": state}))


def official(network: bytes, *, name: str = "G_ema") -> bytes:
    return b"\x80\x04" + dictionary({name: network}) + b"."


def value(held: object) -> bytes:
    """Plain data: None, bool, int, float, text, list, dict."""
    if held is None or isinstance(held, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[held]
    if isinstance(held, int):
        return number(held)
    if isinstance(held, float):
        return b"G" + struct.pack(">d", held)
    if isinstance(held, str):
        return text(held)
    if isinstance(held, dict):
        return dictionary({key: value(item) for key, item in held.items()})
    assert isinstance(held, list | tuple)
    return b"](" + b"".join(map(value, held)) + b"e"


def filled(shape: tuple[int, ...], *values: float) -> bytes:
    """A contiguous float32 tensor, of zeros unless all values are given."""
    count = math.prod(shape)
    stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return tensor(shape, stride, storage(struct.pack(f"<{count}f", *(values or [0.0] * count))))


def network(arguments: dict[str, object], tensors: dict[str, bytes], **options: Any) -> bytes:
    """A network with these constructor arguments; dotted names stand in one part, which makes no difference."""
    return module(tensors, named=value(arguments), **options)


# The smallest network there is: a discriminator of 8 x 8 pixels, one channel wide.
ARGUMENTS: dict[str, object] = {
    "c_dim": 0,
    "img_resolution": 8,
    "img_channels": 1,
    "architecture": "orig",
    "channel_base": 8,
    "channel_max": 1,
    "epilogue_kwargs": {"mbstd_num_channels": 0},
}
SHAPES = {
    "b8.fromrgb.weight": (1, 1, 1, 1),
    "b8.conv0.weight": (1, 1, 3, 3),
    "b8.conv1.weight": (1, 1, 3, 3),
    "b4.conv.weight": (1, 1, 3, 3),
    "b4.fc.weight": (1, 16),
    "b4.out.weight": (1, 1),
}


def discriminator(
    *, options: dict[str, Any] | None = None, more: dict[str, bytes] | None = None, **tensors: bytes
) -> bytes:
    """That discriminator, with ``tensors`` beside or instead of its own, ``more`` constructor arguments as opcodes, and
    ``options`` of ``module``."""
    named = dictionary({name: value(held) for name, held in ARGUMENTS.items()} | (more or {}))
    own = {name: filled(shape) for name, shape in SHAPES.items()}
    return module({**own, **tensors}, named=named, **(options or {}))
