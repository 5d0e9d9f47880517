"""What README, tutorials and the other pages tell a reader to type and to press; their tests do it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def tutorial(page: str) -> str:
    return (DOCS / "tutorials" / page).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def shell_lines(text: str) -> list[str]:
    """Of fenced and of indented blocks; a line that ends in a backslash goes on."""
    text = re.sub(r"\\\n\s*", " ", text)
    code = "\n".join([*blocks(text, "bash"), *re.findall(r"^    (?! )(.+)$", text, flags=re.MULTILINE)])
    return [line for line in code.splitlines() if line.strip() and line[0] != "#"]


def editkit_commands(text: str) -> Iterator[list[str]]:
    """The arguments of each call of ``editkit``, whatever runs it."""
    for line in shell_lines(text):
        for part in re.split(r"&&|\|\|?|;", line):
            if re.match(r"\S*\beditkit ", part.strip()):
                yield shlex.split(part, comments=True)[1:]


def names_in_bold(text: str) -> list[str]:
    """In the order of the text."""
    return [" ".join(name.split()) for name in re.findall(r"\*\*(.+?)\*\*", text, flags=re.DOTALL)]
