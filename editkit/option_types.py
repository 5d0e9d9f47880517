"""Values that several commands take on their command line, as argparse types. No torch at the top level."""

from __future__ import annotations

import argparse
import math
import re

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

MOST = 100_000
"""Numbers in one list: a slip such as 0-99999999 is refused, not worked on."""


def number_list(text: str) -> tuple[int, ...]:
    """``0-8,12`` -> (0, 1, ..., 8, 12): whole numbers from 0 on, in the order given. Raises ArgumentTypeError."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if match is None:
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 0-8,12")
        low, high = int(match[1]), int(match[2] or match[1])
        if high < low:
            raise argparse.ArgumentTypeError(f"{part!r} counts backwards; write {high}-{low}")
        if len(numbers) + high - low >= MOST:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST:,} numbers; give fewer")
        numbers.extend(range(low, high + 1))
    return tuple(numbers)


def number_pair(text: str) -> tuple[float, float]:
    """``0.1,-0.2`` -> (0.1, -0.2). Raises ArgumentTypeError."""
    parts = text.split(",")
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"expected two numbers X,Y, got {text!r}")
    return finite(parts[0]), finite(parts[1])


def number_range(text: str) -> tuple[float, ...]:
    """``0.7`` -> (0.7,); ``-1..1`` -> five even steps; ``-1..1:9`` -> nine. Raises ArgumentTypeError."""
    low, dots, rest = text.partition("..")
    if not dots:
        return (finite(text),)
    high, colon, count = rest.partition(":")
    steps = positive(count) if colon else 5
    if not 2 <= steps <= 100:
        raise argparse.ArgumentTypeError(f"a range has 2 to 100 steps, got {steps}")
    first, last = finite(low), finite(high)
    return tuple(first + (last - first) * index / (steps - 1) for index in range(steps))


def finite(text: str) -> float:
    """A finite number. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")
    return value


def positive(text: str) -> int:
    """A whole number from 1 on. Raises ArgumentTypeError."""
    if not re.fullmatch(r"\d{1,9}", text.strip()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0 to 2^63 - 1. Raises ArgumentTypeError."""
    if not re.fullmatch(r"\d{1,19}", text.strip()) or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def positive_number(text: str) -> float:
    """A finite number above 0. Raises ArgumentTypeError."""
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def choice_of_class(text: str) -> int | str | tuple[int, ...] | tuple[float, ...]:
    """``3``, ``cat``, ``3,cat`` (one a sample) or ``0.2,0.8`` (dense values), for ``editkit.labels.label_tensor``.

    Text with words stays whole: a name may hold commas, which the generator's names decide.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and any("." in part for part in parts) and all(_is_number(part) for part in parts):
        return tuple(float(part) for part in parts)
    if not all(parts):
        raise argparse.ArgumentTypeError(f"expected a class such as 3, cat or 3,cat, got {text!r}")
    if not all(re.fullmatch(r"-?\d+", part) for part in parts):
        return text.strip()
    indices = tuple(int(part) for part in parts)
    return indices[0] if len(indices) == 1 else indices


def accept_negative_values(parser: argparse.ArgumentParser) -> None:
    """Let an option's value begin with a minus and a digit: ``--psi -1..1``, ``--translate -0.1,0``.

    argparse takes only plain numbers for values then, and for an option anything else.
    """
    parser._negative_number_matcher = re.compile(r"-\.?\d")


def add_generator_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, label: bool = True) -> None:
    """``--generator`` and ``--device``, and with ``label`` ``--class``, as ``args.label``."""
    parser.add_argument(
        "--generator", metavar="SOURCE", help="a name, a .safetensors or an official .pkl (default: the bundled one)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    if label:
        add_class_option(parser)


def add_class_option(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    *,
    default: str = "one drawn for each seed, always the same for that seed",
) -> None:
    """``--class``, as ``args.label``; ``default`` says in the help page what happens without."""
    parser.add_argument(
        "--class",
        dest="label",
        type=choice_of_class,
        metavar="CLASS",
        help="of a conditional generator: an index, a name, one a sample (3,cat) or dense values (0.2,0.8) "
        f"(default: {default})",
    )


def seconds(text: str) -> float:
    """``60s``, ``2m``, ``1.5h`` or ``90`` -> seconds, for argparse."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    value = float(match[1]) * _SECONDS[match[2]] if match and match[2] in _SECONDS else 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a time such as 60s, 2m or 90 (seconds), got {text!r}")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
