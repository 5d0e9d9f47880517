"""One photo from beginning to end: align, search, edit, and the files that are written of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit import latent_file, weight_delta
from editkit.alignment import AlignedPhoto, align
from editkit.edited_picture import paste_edited, paste_way, render_edited, write_edited
from editkit.edits import Recipe, apply_edits, as_styles
from editkit.errors import CheckpointError
from editkit.files import ensure_folder, write_text
from editkit.labels import Classes
from editkit.pasting import Paste
from editkit.photo import Photo, write_image
from editkit.rendering import image_grid
from projector.driving import OnStep
from projector.interruption import finished
from projector.methods import Method, settings_of
from projector.pivotal import Pivotal
from projector.report import photo_report, report_text
from projector.result import ProjectionResult, Stop
from projector.search import project

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.latent import Latent
    from editkit.perceptual import PerceptualDistance

FILES = (
    "aligned.png", "inverted.png", "edited.png", "compare.png", "pasted.png", latent_file.NAME, "report.json"
)  # fmt: skip
"""What is written of each photo, the report last; see ``Job.files``."""
EVERY_FILE = (*FILES[:-1], weight_delta.NAME, FILES[-1])
"""And the weight delta of pivotal tuning."""
LOOKABLE = 256
"""Smallest side in pixels of a picture of ``compare.png``: smaller ones are enlarged, so that a person sees them."""


def encoder_content(method: Method) -> dict[str, str]:
    """Of an encoder's file that was named: trained anew under the same name, it gives other codes."""
    method = method.inner if isinstance(method, Pivotal) else method
    path = getattr(method, "encoder", None)
    if path is None or not Path(path).is_file():  # one that is missing is refused where it is loaded
        return {}
    facts = Path(path).stat()
    return {"encoder": _content(Path(path), facts.st_size, facts.st_mtime_ns)}


@lru_cache(maxsize=4)
def _content(path: Path, size: int, changed: int) -> str:
    """A hash of a file, read again only where its size or time is another: it is asked for with every photo."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """What is done with every photo of a run.

    Attributes:
        generator, method, perceptual, seed: see ``projector.project``.
        recipe: the edits, resolved; an empty one leaves the picture as it was found.
        classes: of a conditional generator, see ``projector.project``.
        convention, box, face: see ``editkit.align``; ``convention`` None is the generator's own. Face "all": of every
            face of a photo in turn, see ``projector.crowd``.
        paste: see ``editkit.pasting``: the difference that the edit makes, or the whole crop; ``paste_way`` is what
            is done.
        metadata: whether pictures say that they were edited, and hold the recipe.
        note: what the user should know of how the edit was chosen, for the report.
    """

    generator: Generator
    method: Method
    perceptual: PerceptualDistance
    recipe: Recipe
    classes: Classes | None = None
    seed: int = 0
    convention: str | None = None
    box: Sequence[float] | None = None
    face: int | Literal["all"] = 0
    paste: Paste = "difference"
    metadata: bool = True
    note: str | None = None

    def settings(self) -> str:
        """A hash of everything that the files of a photo depend on, besides the photo."""
        recipe = json.loads(self.recipe.to_json())
        del recipe["written_by"]
        settings = {
            "generator": self.generator.spec.id,
            "method": [type(self.method).__name__, settings_of(self.method)],
            "perceptual": self.perceptual.name,
            "recipe": recipe,
            "seed": self.seed,
            **({} if self.classes is None else {"classes": self.classes}),
            **encoder_content(self.method),
            "crop": [self.convention, None if self.box is None else list(self.box), self.face],
            "metadata": self.metadata,
            "paste": self.paste,
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def files(self) -> tuple[str, ...]:
        """What is written of each photo that is done, the report last."""
        return EVERY_FILE if isinstance(self.method, Pivotal) else FILES

    @property
    def paste_way(self) -> Paste:
        """How pictures go back: a recipe that moves them replaces the crop."""
        return paste_way(self.recipe, self.paste)

    def edits(self) -> str:
        """The edits in a line for people: "warmth +1.4"."""
        return self.recipe.summary


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outcome:
    """What became of one photo, before anything is written.

    Attributes:
        face: the crop, and the way back into the photo.
        found: the search's result.
        edited: [1, 3, R, R], the picture of the edited latent.
        zero_edit_is_identity: the recipe at strength 0 leaves every bit of the latent as it was found.
        seconds: of all the work, the search included.
    """

    face: AlignedPhoto
    found: ProjectionResult
    edited: Tensor
    zero_edit_is_identity: bool
    seconds: float


def work(job: Job, photo: Photo, *, on_step: OnStep | None = None) -> Outcome:
    """Align, search and edit; nothing is written. After Ctrl-C, what was found is edited and ``Stop.CANCELLED``.

    Raises:
        NoFaceError: no face was found where the crop needs one.
        CheckpointError: the generator's pictures hold NaN or infinite values.
    """
    started = time.monotonic()
    face = aligned(job, photo)
    options = {"seed": job.seed, "classes": job.classes, "perceptual": job.perceptual}
    found = project(job.generator, face, job.method, on_step=on_step, **options)  # type: ignore[arg-type]
    return edited(job, face, found, before=time.monotonic() - started)


def aligned(job: Job, photo: Photo) -> AlignedPhoto:
    """The crop that the job asks for. Raises NoFaceError."""
    index = 0 if job.face == "all" else job.face
    return align(photo, job.generator.spec, convention=job.convention, box=job.box, face=index)


def edited(job: Job, face: AlignedPhoto, found: ProjectionResult, *, before: float) -> Outcome:
    """What was found, edited; ``before``: seconds of work until here. Ctrl-C and errors as in ``work``."""
    started, G = time.monotonic(), job.generator
    if not bool(torch.isfinite(found.image).all()):
        raise CheckpointError(
            f"the pictures of generator {G.spec.name!r} hold NaN or infinite values; its weights may be damaged: load "
            "it again from its source"
        )

    def edit() -> tuple[Tensor, bool]:
        shown = G if found.tuning is None else found.tuning.added_to(G)
        picture = render_edited(shown, found.latent, job.recipe, transform=found.transform)
        return picture, _keeps_every_bit(job.recipe, found.latent, G)

    (picture, identical), interrupted = finished(edit, interrupted=found.stop is Stop.CANCELLED)
    return Outcome(
        face=face,
        found=replace(found, stop=Stop.CANCELLED) if interrupted else found,
        edited=picture,
        zero_edit_is_identity=identical,
        seconds=before + time.monotonic() - started,
    )


def write(
    job: Job, outcome: Outcome, folder: Path, *, name: str, key: tuple[str, str] | None = None, faces: int | None = None
) -> dict[str, Any]:
    """Write ``job.files`` into ``folder``, each complete or not at all, and return the report.

    The report is written last: where it lies, everything else does. ``name`` is the photo's, for the report; ``key``
    are its settings and fingerprint in the manifest; ``faces``: how many the
    photo has, where every one is worked on.
    Raises OutputError.
    """
    ensure_folder(folder)
    (folder / "report.json").unlink(missing_ok=True)
    found, face = outcome.found, outcome.face
    pasted = paste_edited(face, outcome.edited, found.image, job.recipe, paste=job.paste)
    write_image(folder / "aligned.png", face.image, note=False)
    write_image(folder / "inverted.png", found.image, note=job.metadata)
    write_edited(folder / "edited.png", outcome.edited, job.recipe, metadata=job.metadata)
    compared = side_by_side([face.image, found.image, outcome.edited])
    write_edited(folder / "compare.png", compared, job.recipe, metadata=job.metadata)
    write_edited(folder / "pasted.png", pasted, job.recipe, metadata=job.metadata, photo=face.photo)
    found.latent.save(folder / latent_file.NAME, transform=found.transform, alignment=face.alignment)
    files = [file for file in job.files if file != weight_delta.NAME or found.tuning is not None]
    if found.tuning is not None:
        found.tuning.save(folder / weight_delta.NAME)
    report = photo_report(job, outcome, name=name, files=files)
    report |= {"key": key, "edits_summary": job.edits(), "faces": faces}
    write_text(folder / "report.json", report_text(report))
    return report


def side_by_side(images: Sequence[Tensor]) -> Tensor:
    """Pictures [1, 3, R, R] in a row, [3, H, W], enlarged to at least ``LOOKABLE`` pixels a side."""
    row = torch.cat([image.detach().cpu() for image in images])
    if row.shape[2] < LOOKABLE:
        side = row.shape[2] * -(-LOOKABLE // row.shape[2])  # a whole multiple, rounded up
        row = F.interpolate(row, size=(side, side), mode="bicubic", align_corners=False).clamp(-1, 1)
    return image_grid(row, columns=len(images), padding=8)


def _keeps_every_bit(recipe: Recipe, latent: Latent, G: Generator) -> bool:
    zeroed = apply_edits(latent, [replace(edit, strength=0.0) for edit in recipe.edits], generator=G)
    before = as_styles(latent, G) if zeroed.space == "s" else latent.as_w_plus()
    after = zeroed.named_tensors()
    return all(torch.equal(after[name], codes) for name, codes in before.named_tensors().items())
