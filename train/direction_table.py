"""The bundled directions as a table with strips, written into the documentation by ``editkit rebuild``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from directions.bars import target_of
from editkit.direction import Direction
from editkit.files import write_between

BEGIN, END = "<!-- bundled directions: begin -->", "<!-- bundled directions: end -->"


def direction_table(made: Sequence[Direction], *, samples: int, pictures: str) -> str:
    """Markdown: a row a direction by name, as judged on ``samples``, then a strip each from the folder ``pictures``."""
    rows = [
        f"{len(made)} pass, judged on {samples} samples (`editkit directions score NAME` gives these figures):",
        "",
        "| name | space | range in units | sd a unit | leakage (worst on) | monotone | kept | separability |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ordered = sorted(made, key=lambda one: one.name)
    rows += [_row(one) for one in ordered]
    rows += ["", "Four generated faces a strip, from the low to the high end of the range, in the table's order:", ""]
    rows += [f"![{one.name}]({pictures}/direction_{one.name}.png)" for one in ordered]
    return "\n".join(rows)


def update_page(page: Path, table: str) -> None:
    """Puts ``table`` between the two marks of ``page``. Raises UsageError where it has no marks, or OutputError."""
    write_between(page, BEGIN, END, f"\n{table}\n")


def _row(one: Direction) -> str:
    scores, target = one.scores, target_of(one)
    effects = {key.removeprefix("effect:"): abs(value) for key, value in scores.items() if key.startswith("effect:")}
    others = {name: value for name, value in effects.items() if name != target}
    worst = f" ({max(others, key=lambda name: others[name])})" if others else ""
    cells = [
        f"`{one.name}`",
        one.space,
        f"{one.strength[0]:+.2f} to {one.strength[1]:+.2f}",
        f"{effects[target]:.2f}" if target else "",
        f"{scores['leakage']:.2f}{worst}" if "leakage" in scores else "",
        f"{scores['monotonicity']:.0%}" if "monotonicity" in scores else "",
        f"{scores['kept']:.0%}" if "kept" in scores else "",
        f"{scores['separability']:.2f}" if "separability" in scores else "",
    ]
    return f"| {' | '.join(cells)} |"
