"""A pickle reader that can build plain data and our own inert stand-ins, and nothing else.

Python's unpickler is not used: it imports, it calls, and it takes the memory that a file claims. This one knows the
opcodes that official checkpoints hold, looks every global up in an exact allow-list of (module, name) pairs, and calls
only the functions of ours that stand for them.

Opcodes: the documentation of Python's ``pickletools``, protocols 2 to 5.
"""

import struct
from collections.abc import Callable
from typing import Any

from editkit.checkpoints.machine import (
    MAX_LONG,
    MAX_OPCODES,
    MAX_TEXT,
    Global,
    Inert,
    PickleMachine,
    Rules,
)
from editkit.errors import CheckpointError, UnsafeCheckpointError

Handler = Callable[[PickleMachine], None]


def read_pickle(data: memoryview, rules: Rules, *, start: int = 0) -> tuple[Any, int]:
    """Read the pickle that begins at ``start`` of ``data``; returns its value and where it ends.

    Bytes in the value are views of ``data``.

    Raises:
        UnsafeCheckpointError: a global outside the allow-list, or a claim beyond the bytes or the budget.
        CheckpointError: damaged data.
    """
    machine = PickleMachine(data, start=start, rules=rules)
    budget = rules.budget
    while True:
        at = machine.position
        code = machine.take(1)[0]
        budget.opcodes -= 1
        if budget.opcodes < 0:
            raise UnsafeCheckpointError(f"more than {MAX_OPCODES:,} pickle operations: not an official checkpoint")
        if code == _STOP:
            if len(machine.stack) != 1 or machine.marks:
                raise CheckpointError(f"damaged pickle: {len(machine.stack)} values are left at its end; get it again")
            return machine.stack.pop(), machine.position
        handler = _HANDLERS.get(code)
        if handler is None:
            raise UnsafeCheckpointError(f"opcode 0x{code:02x} at byte {at:,} has no place in an official checkpoint")
        try:
            handler(machine)
        # What malformed data makes the handlers raise; anything else would be a mistake of ours and stays loud.
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            text = f"{type(error).__name__}: {str(error)[:80]}".splitlines()[0]
            raise CheckpointError(f"damaged pickle at byte {at:,} ({text}); get the file again") from error
    raise UnsafeCheckpointError(f"more than {MAX_OPCODES:,} pickle operations: not an official checkpoint")


def _push(value: object) -> Handler:
    return lambda machine: machine.stack.append(value)


def _push_new(kind: Callable[[], object]) -> Handler:
    return lambda machine: machine.stack.append(kind())


def _push_number(size: int) -> Handler:
    return lambda machine: machine.stack.append(machine.number(size))


def _push_text(size: int) -> Handler:
    def handler(machine: PickleMachine) -> None:
        view = machine.take(machine.number(size))
        budget = machine.rules.budget
        budget.text -= len(view)
        if budget.text < 0:
            raise UnsafeCheckpointError(f"more than {MAX_TEXT >> 20} MB of text: not an official checkpoint")
        machine.stack.append(str(view, "utf-8", "surrogatepass"))

    return handler


def _push_bytes(size: int) -> Handler:
    return lambda machine: machine.stack.append(machine.take(machine.number(size)))


def _push_tuple(count: int) -> Handler:
    return lambda machine: machine.stack.append(machine.pop_many(count))


def _protocol(machine: PickleMachine) -> None:
    version = machine.number(1)
    if not 2 <= version <= 5:
        raise CheckpointError(f"pickle protocol {version} is not known; 2 to 5 can be read")


def _frame(machine: PickleMachine) -> None:
    """A frame only groups what follows; its length must still be there."""
    size = machine.number(8)
    left = len(machine.data) - machine.position
    if size > left:
        raise CheckpointError(f"the file is cut short: a frame of {size:,} bytes, {left:,} are there; get it again")


def _signed_integer(machine: PickleMachine) -> None:
    machine.stack.append(int.from_bytes(machine.take(4), "little", signed=True))


def _long_integer(machine: PickleMachine) -> None:
    size = machine.number(1)
    if size > MAX_LONG:
        raise UnsafeCheckpointError(f"an integer of {size} bytes; official checkpoints hold none over {MAX_LONG}")
    machine.stack.append(int.from_bytes(machine.take(size), "little", signed=True))


def _float(machine: PickleMachine) -> None:
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


def _memoize(machine: PickleMachine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _put(size: int) -> Handler:
    def handler(machine: PickleMachine) -> None:
        machine.memo[machine.number(size)] = machine.stack[-1]

    return handler


def _get(size: int) -> Handler:
    return lambda machine: machine.stack.append(machine.memo[machine.number(size)])


def _mark(machine: PickleMachine) -> None:
    machine.marks.append(len(machine.stack))


def _append(machine: PickleMachine) -> None:
    value = machine.pop()
    machine.top(list).append(value)


def _appends(machine: PickleMachine) -> None:
    items = machine.pop_to_mark()
    machine.top(list).extend(items)


def _key(value: object) -> str | int:
    # Only these: their hashes cannot be made to collide in bulk, and a stand-in is never asked for its own.
    if type(value) is str or (type(value) is int and abs(value) < 1 << 31):
        return value
    raise TypeError(f"a {type(value).__name__} is a key")


def _set_item(machine: PickleMachine) -> None:
    key, value = machine.pop_many(2)
    machine.top(dict)[_key(key)] = value


def _set_items(machine: PickleMachine) -> None:
    items = machine.pop_to_mark()
    target = machine.top(dict)
    if len(items) % 2:
        raise ValueError("a key has no value")
    for index in range(0, len(items), 2):
        target[_key(items[index])] = items[index + 1]


def _add_items(machine: PickleMachine) -> None:
    items = machine.pop_to_mark()
    machine.top(set).update(_key(item) for item in items)


def _tuple(machine: PickleMachine) -> None:
    machine.stack.append(tuple(machine.pop_to_mark()))


def _find(machine: PickleMachine, module: object, name: object) -> None:
    if type(module) is not str or type(name) is not str:
        raise TypeError("a global is not named by text")
    build = machine.rules.globals.get((module, name))
    if build is None:
        wanted = f"{module}.{name}"
        shown = "".join(c if c.isprintable() else "?" for c in wanted[:80])
        if module.startswith("dnnlib.tflib"):
            raise UnsafeCheckpointError(f"{shown} is asked for: a TensorFlow pickle; only those of PyTorch can be read")
        raise UnsafeCheckpointError(
            f"the pickle asks for {shown}, which no official checkpoint needs; nothing of it was run"
        )
    machine.stack.append(Global(module, name, build))


def _global(machine: PickleMachine) -> None:
    module = machine.line()
    _find(machine, module, machine.line())


def _stack_global(machine: PickleMachine) -> None:
    _find(machine, *machine.pop_many(2))


def _reduce(machine: PickleMachine) -> None:
    target, arguments = machine.pop_many(2)
    if type(target) is not Global or type(arguments) is not tuple:
        raise UnsafeCheckpointError(f"a {type(target).__name__} is called; only allow-listed names may be")
    machine.stack.append(target.build(*arguments))


def _build(machine: PickleMachine) -> None:
    state = machine.pop()
    target = machine.stack[-1]
    if not isinstance(target, Inert):
        raise UnsafeCheckpointError(f"state is set on a {type(target).__name__}; official checkpoints do not do that")
    target.set_state(state)


def _persistent(machine: PickleMachine) -> None:
    if machine.rules.persistent is None:
        raise UnsafeCheckpointError("a persistent id outside a tensor's storage: not an official checkpoint")
    machine.stack.append(machine.rules.persistent(machine.pop()))


_STOP = ord(".")
_HANDLERS: dict[int, Handler] = {
    0x80: _protocol,
    0x95: _frame,
    ord("}"): _push_new(dict),
    ord("]"): _push_new(list),
    0x8F: _push_new(set),
    ord(")"): _push(()),
    ord("N"): _push(None),
    0x88: _push(True),
    0x89: _push(False),
    ord("K"): _push_number(1),
    ord("M"): _push_number(2),
    ord("J"): _signed_integer,
    0x8A: _long_integer,
    ord("G"): _float,
    0x8C: _push_text(1),
    ord("X"): _push_text(4),
    0x8D: _push_text(8),
    ord("C"): _push_bytes(1),
    ord("B"): _push_bytes(4),
    0x8E: _push_bytes(8),
    0x96: _push_bytes(8),  # BYTEARRAY8: to us as the bytes are
    0x94: _memoize,
    ord("q"): _put(1),
    ord("r"): _put(4),
    ord("h"): _get(1),
    ord("j"): _get(4),
    ord("("): _mark,
    ord("t"): _tuple,
    0x85: _push_tuple(1),
    0x86: _push_tuple(2),
    0x87: _push_tuple(3),
    ord("a"): _append,
    ord("e"): _appends,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x90: _add_items,
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _reduce,
    0x81: _reduce,  # NEWOBJ: class and arguments; our builder stands for both
    ord("b"): _build,
    ord("Q"): _persistent,
}
