"""What the tutorials tell a reader to type and to press; their tests do it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

TUTORIALS = Path(__file__).resolve().parents[1] / "docs" / "tutorials"


def text_of(page: str) -> str:
    return (TUTORIALS / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), flags=re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line) for block in blocks(page, "bash") for line in block.splitlines() if line.strip()]


def names_in_bold(page: str) -> list[str]:
    """In the order of the text."""
    return [" ".join(name.split()) for name in re.findall(r"\*\*(.+?)\*\*", text_of(page), flags=re.DOTALL)]
