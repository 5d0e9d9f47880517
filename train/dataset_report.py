"""What was found in a data set: counts, what was left out, warnings; as JSON, and as a page with a contact sheet."""

import base64
import io
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from editkit import __version__
from editkit.files import write_bytes, write_text
from train.dataset_labels import Labels
from train.dataset_measures import Measures
from train.dataset_pixels import Crop, resize
from train.dataset_survey import REASONS, Picture, Reason, Skipped
from train.dataset_warnings import Finding, find_warnings

SCHEMA = 1
SHEET, THUMBNAIL = (10, 6), 96  # columns and rows, side of a picture
_LISTED = 200  # names that the page lists of each kind; the JSON has all
_GROUND = (238, 238, 238)


@dataclass(kw_only=True, slots=True)
class Survey:
    """What ``build_dataset`` and ``check_dataset`` found."""

    source: Path
    crop: Crop
    channels: int
    total: int  # picture files seen
    problems: list[str] = field(default_factory=list)  # what training would refuse
    out: Path | None = None
    entries: list[tuple[str, str]] = field(default_factory=list)  # name in the data set, name in the source
    names: list[str] = field(default_factory=list)  # in the source, of what was measured
    measures: list[Measures] = field(default_factory=list)
    skipped: dict[Reason, list[tuple[str, str]]] = field(default_factory=lambda: {reason: [] for reason in REASONS})
    classes: dict[str, int] = field(default_factory=dict)  # pictures of each
    thumbnails: list[np.ndarray] = field(default_factory=list)
    side: int = 0

    def add(self, item: Picture | Skipped) -> None:
        """Counts one. Every so many pictures one is kept for the contact sheet."""
        if isinstance(item, Skipped):
            self.skipped[item.reason].append((item.name, item.detail))
            return
        step = max(1, self.total // (SHEET[0] * SHEET[1]))
        if len(self.measures) % step == 0 and len(self.thumbnails) < SHEET[0] * SHEET[1]:
            self.thumbnails.append(_thumbnail(item.pixels))
        self.side = item.pixels.shape[0]
        self.names.append(item.name)
        self.measures.append(item.measures)

    def count_classes(self, labels: Labels) -> None:
        """Counts the pictures of each class; vectors have none."""
        values = [labels.values[name] for _, name in self.entries if name in labels.values]
        counts = Counter(value for value in values if isinstance(value, int))
        names = labels.class_names or [str(index) for index in range(labels.c_dim)]
        self.classes = {name: counts[index] for index, name in enumerate(names)} if counts else {}

    @property
    def warnings(self) -> list[Finding]:
        """What hurts a StyleGAN3."""
        return find_warnings(self.names, self.measures, crop=self.crop, channels=self.channels)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in the JSON report."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "source": str(self.source),
            "out": None if self.out is None else str(self.out),
            "files": self.total,
            "pictures": len(self.entries),
            "resolution": self.side,
            "channels": self.channels,
            "crop": asdict(self.crop),
            "classes": self.classes,
            "problems": self.problems,
            "warnings": [asdict(finding) for finding in self.warnings],
            "skipped": {reason: [list(pair) for pair in pairs] for reason, pairs in self.skipped.items()},
            "measures": {
                name: _quantiles([getattr(one, name) for one in self.measures])
                for name in ("enlarged", "bars", "jpeg_quality", "blockiness", "fall", "repeated")
            },
        }


def write_report(survey: Survey, base: str | Path) -> tuple[Path, Path]:
    """Writes ``BASE.json`` and ``BASE.html`` and returns their paths. Raises OutputError."""
    stem = Path(base)
    data, page = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.html")
    document = survey.to_dict()
    origins = {"names": [list(pair) for pair in survey.entries]} if survey.out is not None else {}
    write_text(data, json.dumps({**document, **origins}, indent=1, allow_nan=False) + "\n")
    write_bytes(page, _page(survey, document).encode("utf-8", "backslashreplace"))
    return data, page


def contact_sheet(survey: Survey) -> Image.Image:
    """The pictures that were kept for it, from all over the data set, on one sheet."""
    columns = min(SHEET[0], max(1, len(survey.thumbnails)))
    rows = -(-max(1, len(survey.thumbnails)) // columns)
    sheet = Image.new("RGB", (columns * (THUMBNAIL + 4) + 4, rows * (THUMBNAIL + 4) + 4), _GROUND)
    for place, pixels in enumerate(survey.thumbnails):
        row, column = divmod(place, columns)
        sheet.paste(Image.fromarray(pixels), (4 + column * (THUMBNAIL + 4), 4 + row * (THUMBNAIL + 4)))
    return sheet


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    """uint8 RGB; alpha on grey."""
    height, width = pixels.shape[:2]
    scale = THUMBNAIL / max(height, width)
    small = resize(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))
    if small.shape[2] == 1:
        return np.repeat(small, 3, 2)
    if small.shape[2] == 3:
        return small
    picture = Image.fromarray(small)
    ground = Image.new("RGBA", picture.size, (*_GROUND, 255))
    return np.asarray(Image.alpha_composite(ground, picture).convert("RGB"))


def _quantiles(values: list[float]) -> dict[str, float] | None:
    """5th, 50th and 95th percentile of the numbers among ``values``; None without any."""
    numbers = [value for value in values if math.isfinite(value)]
    if not numbers:
        return None
    return {f"p{q}": round(float(np.percentile(numbers, q)), 4) for q in (5, 50, 95)}


def _page(survey: Survey, document: dict[str, Any]) -> str:
    stream = io.BytesIO()
    contact_sheet(survey).save(stream, "PNG")
    sheet = base64.b64encode(stream.getvalue()).decode()
    name = (survey.out or survey.source).name
    facts = [
        ("source", document["source"]),
        ("pictures", f"{document['pictures']:,} of {document['files']:,} files"),
        ("size", f"{survey.side} x {survey.side}, {survey.channels} channels, {survey.crop.kind} crop"),
    ]
    if survey.classes:
        shown = ", ".join(f"{key}: {count}" for key, count in list(survey.classes.items())[:50])
        facts.append(("classes", f"{len(survey.classes)} ({shown}{', ...' if len(survey.classes) > 50 else ''})"))
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(name)}: data set report</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
th {{ text-align: left; vertical-align: top; padding-right: 1.5rem; white-space: nowrap }}
td {{ overflow-wrap: anywhere }} img {{ max-width: 100%; image-rendering: auto }}
.warning {{ border-left: 4px solid #c60; padding-left: 1rem; margin: 1rem 0 }}
.problem {{ border-left: 4px solid #b00; padding-left: 1rem; margin: 1rem 0 }}
.small {{ color: #666; font-size: 85% }}
</style>
<h1>{escape(name)}</h1>
<table>{rows}</table>
{_problems(survey)}
<h2>Warnings</h2>
{"".join(_warning(finding) for finding in survey.warnings) or "<p>None.</p>"}
<h2>Contact sheet</h2>
<p><img src="data:image/png;base64,{sheet}" alt="{len(survey.thumbnails)} pictures from all over the data set"></p>
<h2>{"Left out" if survey.out is not None else "Broken or repeated"}</h2>
{_skipped(survey)}
<p class="small">editkit {escape(__version__)}</p>
</html>
"""


def _problems(survey: Survey) -> str:
    if not survey.problems:
        return ""
    items = "".join(f'<p class="problem">{escape(text)}</p>' for text in survey.problems)
    return f"<h2>Training would refuse this</h2>{items}"


def _warning(finding: Finding) -> str:
    examples = f'<br><span class="small">{escape(", ".join(finding.examples))}</span>' if finding.examples else ""
    return (
        f'<p class="warning"><b>{escape(finding.code)}</b>: {escape(finding.text)}. Measured {finding.measured:.4g}, '
        f"threshold {finding.threshold:.4g}.<br>What to do: {escape(finding.advice)}.{examples}</p>"
    )


def _skipped(survey: Survey) -> str:
    parts = []
    for reason, pairs in survey.skipped.items():
        if pairs:
            rows = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in pairs[:_LISTED])
            more = f"<p>and {len(pairs) - _LISTED} more, in the JSON report</p>" if len(pairs) > _LISTED else ""
            parts.append(
                f"<details><summary>{len(pairs)} {escape(reason)}</summary><table>{rows}</table>{more}</details>"
            )
    return "".join(parts) or "<p>None.</p>"
