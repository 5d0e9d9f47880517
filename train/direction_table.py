"""The bundled directions as a table with strips, written into the documentation by ``editkit rebuild``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from directions.bars import failures, target_of
from directions.measurement import EFFECT, HIGH, LOW
from editkit.direction import Direction
from editkit.files import write_between

BEGIN, END = "<!-- bundled directions: begin -->", "<!-- bundled directions: end -->"


TOLD = 0.3  # share of its own from which on a score that does not count is named


def direction_table(
    made: Sequence[Direction],
    *,
    samples: int,
    pictures: str,
    beside: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Markdown: a row a direction by name, as reported on ``samples``, then a strip each from the folder ``pictures``.

    Those that miss the bars in the report come after the others, with the reason. ``beside``, by name of a direction,
    are shares of its own by which it moves scores that do not count (``Judgement.beside``).
    """
    ordered = sorted(made, key=lambda one: one.name)
    passing, hidden = [one for one in ordered if not failures(one)], [one for one in ordered if failures(one)]
    error = max((one.scores["error"] for one in ordered if "error" in one.scores), default=0.0)
    rows = [
        f"{len(passing)} pass, as reported on {samples} samples that they were not accepted on "
        f"(`editkit directions score NAME` gives these figures; standard errors of slopes are at most {error:.2f}):",
        "",
        "| name | space | range in units | sd a unit, low half | high half | leakage (worst on) | monotone | kept | "
        "separability |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [_row(one) for one in passing]
    if hidden:
        rows += ["", "These ship too, miss a bar and are not offered by default:", ""]
        rows += [f"- `{one.name}`: {'; '.join(failures(one))}" for one in hidden]
    if beside:
        rows += ["", _not_counted(beside)]
    rows += ["", "Four generated faces a strip, from the low to the high end of the range, in the table's order:", ""]
    rows += [f"![{one.name}]({pictures}/direction_{one.name}.png)" for one in passing]
    return "\n".join(rows)


def update_page(page: Path, table: str) -> None:
    """Puts ``table`` between the two marks of ``page``. Raises UsageError where it has no marks, or OutputError."""
    write_between(page, BEGIN, END, f"\n{table}\n")


def _not_counted(beside: Mapping[str, Mapping[str, float]]) -> str:
    told = []
    for name, shares in sorted(beside.items()):
        strong = sorted(((other, s) for other, s in shares.items() if s >= TOLD), key=lambda item: -item[1])
        if strong:
            told.append(f"`{name}` {', '.join(f'{other} {s:.2f}' for other, s in strong)}")
    counted = f"Scores that do not count as leakage and move by {TOLD:g} of the direction's own or more "
    return f"{counted}(`editkit directions score NAME --all`): {'; '.join(told) or 'none'}."


def _row(one: Direction) -> str:
    scores, target = one.scores, target_of(one)
    effects = {key.removeprefix(EFFECT): abs(value) for key, value in scores.items() if key.startswith(EFFECT)}
    others = {name: value for name, value in effects.items() if name != target}
    worst = f" ({max(others, key=lambda name: others[name])})" if others else ""
    cells = [
        f"`{one.name}`",
        one.space,
        f"{one.strength[0]:+.2f} to {one.strength[1]:+.2f}",
        *(f"{scores[word + str(target)]:.2f}" if word + str(target) in scores else "" for word in (LOW, HIGH)),
        f"{scores['leakage']:.2f}{worst}" if "leakage" in scores else "",
        f"{scores['monotonicity']:.0%}" if "monotonicity" in scores else "",
        f"{scores['kept']:.0%}" if "kept" in scores else "",
        f"{scores['separability']:.2f}" if "separability" in scores else "",
    ]
    return f"| {' | '.join(cells)} |"
