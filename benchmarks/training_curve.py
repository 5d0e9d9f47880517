"""Draws the tables of a training run's distances over the photographs it has seen, as docs/training.md keeps them.

    python benchmarks/training_curve.py docs/training.md --out docs/images/training_curve.png

Every table whose first column is "photographs" and which has the column ``--column`` gives points; a row that is no
number, such as that of photographs beside photographs, is drawn as a line.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an uninstalled checkout works

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, LEFT, BOTTOM, RIGHT = 640, 300, 50, 40, 20


def points(text: str, column: str) -> tuple[list[tuple[float, float]], float | None]:
    """(photographs, value) in ascending order, and the value of photographs themselves, if it is told."""
    found, floor, place = {}, None, None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            place = None
        elif cells[0] == "photographs":
            place = cells.index(column) if column in cells else None
        elif place is not None and not cells[0].startswith("-"):
            value = float(cells[place])
            if cells[0].replace(",", "").isdigit():
                found[float(cells[0].replace(",", ""))] = value
            else:
                floor = value
    return sorted(found.items()), floor


def draw(curves: list[tuple[str, list[tuple[float, float]], float | None]], path: Path) -> None:
    """A panel a curve, one under the other."""
    image = Image.new("RGB", (WIDTH, HEIGHT * len(curves)), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    last = max(x for _, found, _ in curves for x, _ in found)
    for number, (name, found, floor) in enumerate(curves):
        top, highest = HEIGHT * number, 1.1 * max(y for _, y in found)

        def at(x: float, y: float, top: int = top, highest: float = highest) -> tuple[float, float]:
            across = LEFT + x / last * (WIDTH - LEFT - RIGHT)
            return across, top + HEIGHT - BOTTOM - y / highest * (HEIGHT - BOTTOM - 30)

        pen.text((LEFT, top + 6), name, fill="black", font=font)
        step = next(size for size in (1, 2, 5, 10, 20, 50, 100) if highest / size <= 6)
        for level in range(0, int(highest) + 1, step):
            pen.line([at(0, level), at(last, level)], fill="#dddddd")
            pen.text((10, at(0, level)[1] - 8), f"{level}", fill="black", font=font)
        for thousands in range(0, int(last / 1000) + 1, 20):
            x, y = at(1000 * thousands, 0)
            pen.text((x - 10, y + 6), f"{thousands:g}k", fill="black", font=font)
        if floor is not None:
            pen.line([at(0, floor), at(last, floor)], fill="#7799cc", width=2)
            pen.text(
                (at(last, floor)[0] - 150, at(0, floor)[1] + 12), "training photographs", fill="#335588", font=font
            )
        pen.line([at(x, y) for x, y in found], fill="#aa5533", width=2)
        for x, y in found:
            left, up = at(x, y)
            pen.ellipse([left - 4, up - 4, left + 4, up + 4], fill="#aa5533")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, optimize=True)


def main() -> None:
    """Draws them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="Markdown with the tables")
    parser.add_argument("--column", nargs="*", default=["fd_faces", "fd_efficientnet-lite0"], help="a panel each")
    parser.add_argument("--out", type=Path, default=Path("docs/images/training_curve.png"))
    args = parser.parse_args()
    text = args.page.read_text(encoding="utf-8")
    draw([(column, *points(text, column)) for column in args.column], args.out)


if __name__ == "__main__":
    main()
