"""Check what `editkit project --out DIR` wrote: every file of the layout is there, opens, and says something."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from PIL import Image

PICTURES = ("aligned.png", "inverted.png", "edited.png", "compare.png")


def main(out: Path) -> None:
    """Exit non-zero with one line if anything is missing or empty."""
    for name in ("report.html", "manifest.sqlite"):
        if not (out / name).stat().st_size:
            sys.exit(f"{name} is empty")
    folders = [path for path in out.iterdir() if path.is_dir()]
    if len(folders) != 1:
        sys.exit(f"one photo should give one folder, got {len(folders)}")
    pictures = {}
    for name in PICTURES:
        with Image.open(folders[0] / name) as picture:
            picture.load()
            if all(low == high for low, high in picture.convert("RGB").getextrema()):
                sys.exit(f"{name} is one flat colour")
            pictures[name] = picture.convert("RGB").tobytes()
    if pictures["edited.png"] == pictures["inverted.png"]:
        sys.exit("the edit changed nothing")
    if not (folders[0] / "latent.safetensors").stat().st_size:
        sys.exit("latent.safetensors is empty")
    report = json.loads((folders[0] / "report.json").read_text(encoding="utf-8"))
    numbers = [value for value in report.get("metrics", {}).values() if isinstance(value, int | float)]
    if not numbers or not all(math.isfinite(value) for value in numbers):
        sys.exit(f"report.json has no finite metrics: {report.get('metrics')}")
    print(f"main job: {folders[0].name} is complete; {report['metrics']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
