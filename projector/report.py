"""What is said of a run: ``report.json`` a photo, and the page ``report.html`` above them."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import torch

from editkit import __version__
from editkit.direction import Direction
from editkit.edits import Edit
from editkit.files import write_text
from editkit.photo import image_to_uint8
from projector.manifest import ALL_FACES, PAGE, Record
from projector.result import Stop
from projector.search import measure

if TYPE_CHECKING:
    from projector.job import Job, Outcome

SCHEMA = 1
METRICS = (
    "PSNR (dB) and SSIM compare the aligned crop with the inverted one, both rounded to 8 bits, data range 255; "
    "mse is of images in [-1, 1]"
)


def photo_report(job: Job, outcome: Outcome, *, name: str, files: Sequence[str]) -> dict[str, Any]:
    """The content of ``report.json``: plain values; a metric that is not finite is None (equal pictures: infinite)."""
    spec, found, photo, device = job.generator.spec, outcome.found, outcome.face.photo, job.generator.device
    changed = measure(outcome.edited.to(device), found.image.to(device), job.perceptual)
    return {
        "schema": SCHEMA,
        "photo": {"name": name, "size": list(photo.size)},
        "crop": {"convention": outcome.face.alignment.convention, "side": outcome.face.alignment.crop_size},
        "generator": {"id": spec.id, "name": spec.name, "resolution": spec.resolution, "licence": spec.licence},
        "perceptual": {"name": job.perceptual.name, "unit": job.perceptual.unit},
        "metrics": _finite(found.metrics),
        "metrics_are": METRICS,
        "edits": [_edit(edit) for edit in job.recipe.edits],
        "edit_note": job.note,
        "edit_change": _finite(changed),
        "zero_edit_is_identity": outcome.zero_edit_is_identity,
        "paste": {"how": job.paste_way, "zero_edit_error": zero_edit_error(job, outcome)},
        "method": found.method,
        "steps": len(found.history),
        "losses": _finite(found.history[-1].losses) if found.history else {},
        "stop": found.stop.value,
        "advice": found.stop.advice,
        "seconds": {"search": round(found.seconds, 3), "total": round(outcome.seconds, 3)},
        "device": str(device),
        "versions": {"editkit": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "files": list(files),
    }


def zero_edit_error(job: Job, outcome: Outcome) -> dict[str, float]:
    """What pasting back costs where nothing is edited, on the photo's 8-bit pixels: mean and largest, of 255."""
    inverted, photo = outcome.found.image.clamp(-1, 1), outcome.face.photo.image
    pasted = outcome.face.paste_back(inverted, inverted=inverted if job.paste_way == "difference" else None)
    off = (image_to_uint8(pasted).int() - image_to_uint8(photo).int()).abs()
    return {"mean": round(float(off.float().mean()), 4), "max": float(off.max())}


def report_text(report: dict[str, Any]) -> str:
    """A report as JSON text."""
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_page(folder: Path, records: Iterable[Record]) -> Path:
    """Write ``report.html`` for every photo of an output folder, and return its path. Raises OutputError."""
    write_text(folder / PAGE, page(list(records)))
    return folder / PAGE


def page(records: Sequence[Record]) -> str:
    """The page: one file that asks nothing of any network; pictures lie beside it, a few lines sort the table."""
    done = [record for record in records if record.status == "done"]
    failed = [record for record in records if record.status == "failed"]
    pending = [record for record in records if record.status == "pending"]
    counts = [f"{len(done)} done", *([f'<a href="#failed">{len(failed)} failed</a>'] if failed else [])]
    counts += [f'<a href="#pending">{len(pending)} not finished</a>'] if pending else []
    parts = [f"<p>{', '.join(counts)}{_mean_psnr(done)}.</p>"]
    if done:
        head = "".join(f'<th scope="col"{kind}>{title}</th>' for title, kind in _HEADS)
        crowds = {record.path.removesuffix("#face2") for record in records if record.path.endswith("#face2")}
        rows = "\n".join(_done_row(record, crowd=record.path in crowds) for record in done)
        parts.append("<p>Click a heading to sort by it, a picture to see it in full.</p>")
        parts.append(f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>')
        parts.append(f"<p>{METRICS}. The report of a photo names its perceptual distance.</p>")
        reasons = [stop for stop in Stop if any(record.stop == stop.value for record in done)]
        lines = "".join(f"<li><b>{stop.value}</b>: {escape(stop.advice)}</li>" for stop in reasons)
        parts.append(f"<h2>Why the searches ended</h2><ul>{lines}</ul>")
    for title, some in (("Failed", failed), ("Not finished", pending)):
        if some:
            reason = "worked on, or stopped while it was: the same command goes on from here"
            lines = "".join(f"<li><b>{escape(one.name)}</b>: {escape(one.error or reason)}</li>" for one in some)
            parts.append(f'<h2 id="{some[0].status}">{title}</h2><ul>{lines}</ul>')
    return _PAGE.format(style=_STYLE, script=_SCRIPT, body="\n".join(parts), version=escape(__version__))


def _done_row(record: Record, *, crowd: bool) -> str:
    folder = quote(record.folder)
    name = f'<td><a href="{folder}/report.json">{escape(record.name)}</a></td>'
    pictures = "".join(
        f'<td><a href="{folder}/{file}.png"><img src="{folder}/{file}.png" loading="lazy" width="128" height="128" '
        f'alt="{escape(record.name)}, {file}"></a></td>'
        for file in ("aligned", "inverted", "edited")
    )
    numbers = "".join(
        f'<td class="number">{_number(value, digits)}</td>'
        for value, digits in ((record.psnr, 2), (record.ssim, 3), (record.perceptual, 3), (record.seconds, 1))
    )
    words = f'<td class="word">{escape(record.stop or "")}</td><td>{escape(record.edits or "")}</td>'
    more = f'<a href="{folder}/compare.png">compare</a><br><a href="{folder}/pasted.png">in photo</a>'
    if crowd:
        more += f'<br><a href="{folder}/{ALL_FACES}">all faces</a>'
    return f'<tr>{name}{pictures}{numbers}{words}<td class="word">{more}</td></tr>'


def _edit(edit: Edit) -> dict[str, Any]:
    facts: dict[str, Any] = {"direction": edit.name, "strength": edit.strength, "layers": edit.layers}
    if isinstance(edit.direction, Direction):
        facts |= {"range": list(edit.direction.strength), "unit": edit.direction.unit}
    return facts


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _mean_psnr(done: Sequence[Record]) -> str:
    known = [record.psnr for record in done if record.psnr is not None]
    return f"; mean PSNR {sum(known) / len(known):.2f} dB" if known else ""


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


_SORT, _NUMBER = ' class="sort"', ' class="sort number"'
_HEADS = (
    ("photo", _SORT), ("before", ""), ("inverted", ""), ("after", ""), ("PSNR", _NUMBER), ("SSIM", _NUMBER),
    ("perceptual", _NUMBER), ("seconds", _NUMBER), ("search", _SORT), ("edit", _SORT), ("more", ""),
)  # fmt: skip
"""Columns of the page, and whether they are sorted, and as numbers."""

_STYLE = """
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #f4f4f4; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 88rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .5rem; text-align: left; vertical-align: middle; }
th { background: var(--soft); }
th.sort { cursor: pointer; white-space: nowrap; }
th.sort::after { color: GrayText; content: " \\21c5"; font-weight: normal; }
th.sort[aria-sort=ascending]::after { color: inherit; content: " \\25b2"; }
th.sort[aria-sort=descending]::after { color: inherit; content: " \\25bc"; }
td:first-child { max-width: 16rem; min-width: 8rem; overflow-wrap: anywhere; }
.number { font-variant-numeric: tabular-nums; text-align: right; }
.word { white-space: nowrap; }
img { border-radius: 4px; display: block; height: 128px; max-width: none; object-fit: contain; width: 128px; }
footer { color: GrayText; margin-top: 2rem; }
@media (prefers-color-scheme: dark) { :root { --line: #4a4a4a; --soft: #262626; } }
""".strip()

_SCRIPT = """
for (const head of document.querySelectorAll("th.sort")) {
  head.tabIndex = 0;
  const sort = () => {
    const up = head.getAttribute("aria-sort") !== "ascending", body = head.closest("table").tBodies[0];
    const key = row => row.cells[head.cellIndex].textContent, number = row => parseFloat(key(row));
    const numeric = [...body.rows].every(row => key(row) === "–" || !isNaN(key(row)));
    const order = (a, b) => numeric ? (isNaN(number(a)) ? 1e9 : number(a)) - (isNaN(number(b)) ? 1e9 : number(b))
      : key(a).localeCompare(key(b));
    body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
""".strip()

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>editkit: projected photos</title>
<style>
{style}
</style>
</head>
<body>
<h1>Projected photos</h1>
{body}
<footer>editkit {version}</footer>
<script>
{script}
</script>
</body>
</html>
"""
