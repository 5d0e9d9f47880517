"""The state of our pickle reader: a buffer, a stack, marks, a memo, and the bounds on what a file may spend.

``opcodes.read_pickle`` drives it. Every length is checked against the bytes that are really there before memory is
taken, bytes are handed out as views of the buffer, and nothing recurses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from editkit.errors import CheckpointError, UnsafeCheckpointError

MAX_OPCODES = 300_000  # a file with G, D and G_ema holds about 45,000, nested pickles included
MAX_TEXT = 64 << 20  # bytes of strings together; official files hold some 200 KB of embedded source
MAX_NAME = 256  # bytes of a global's module or name
MAX_LONG = 16  # bytes of an integer


class Inert:
    """Base of the stand-ins that a pickle may fill in after making them (opcode BUILD)."""

    def set_state(self, state: object) -> None:
        raise UnsafeCheckpointError(f"a {type(self).__name__} takes no state; the file is not an official checkpoint")


@dataclass(frozen=True, slots=True)
class Global:
    """A name found in the allow-list; ``build`` is a function of ours, called with the pickled arguments."""

    module: str
    name: str
    build: Callable[..., object]


@dataclass(slots=True)
class Budget:
    """What one file may still spend; the pickles nested in its tensors spend from the same purse.

    Args:
        tensor_bytes: bytes of all tensors together; the size of the file, since each tensor brings its own data.
        opcodes: pickle operations.
        text: bytes of strings.
    """

    tensor_bytes: int
    opcodes: int = MAX_OPCODES
    text: int = MAX_TEXT


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a pickle may do.

    Args:
        globals: exact (module, name) pairs and the functions of ours that stand for them.
        budget: bounds on work and text, shared with nested pickles.
        persistent: what a persistent id becomes, or None where none is allowed.
    """

    globals: Mapping[tuple[str, str], Callable[..., object]]
    budget: Budget
    persistent: Callable[[object], object] | None = None


class PickleMachine:
    """Where the reading of one pickle stands: ``position`` in ``data``, and what was built so far."""

    def __init__(self, data: memoryview, *, start: int, rules: Rules) -> None:
        self.data = data
        self.rules = rules
        self.position = start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    # Reading -------------------------------------------------------------------------------------------------------

    def take(self, count: int) -> memoryview:
        """The next ``count`` bytes, uncopied."""
        left = len(self.data) - self.position
        if count > left:
            if count <= 8:
                raise CheckpointError(f"the file ends in the middle, after {len(self.data):,} bytes; get it again")
            raise UnsafeCheckpointError(
                f"{count:,} bytes are claimed at byte {self.position:,}, but only {left:,} follow: "
                "the file is cut short or hostile; get it again from its source"
            )
        view = self.data[self.position : self.position + count]
        self.position += count
        return view

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        """Text up to the next newline, as opcode GLOBAL has it."""
        window = bytes(self.data[self.position : self.position + MAX_NAME])
        end = window.find(b"\n")
        if end < 0:
            raise UnsafeCheckpointError(f"a global's name at byte {self.position:,} is longer than {MAX_NAME} bytes")
        self.position += end + 1
        return window[:end].decode("utf-8")

    # Stack ---------------------------------------------------------------------------------------------------------

    def pop(self) -> Any:
        # A value below the newest mark belongs to the collection that the mark opened.
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise IndexError("a value is taken from under a mark")
        return self.stack.pop()

    def pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_to_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind or (self.marks and len(self.stack) <= self.marks[-1]):
            raise TypeError(f"a {kind.__name__} was expected, a {type(value).__name__} was found")
        return value
