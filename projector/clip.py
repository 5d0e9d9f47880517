"""A video from beginning to end: follow the face, find codes, smooth both over time, edit, paste back, write.

Every stage keeps what it has done in the output folder, a file a frame, so that a stopped run goes on where it ended:
``track.json`` (landmarks), ``base.safetensors``, ``latents/000000.safetensors`` and so on, then ``edited.mp4`` and
``report.json``. Frames are read again for each stage, so that memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editkit.alignment import AlignedPhoto, align
from editkit.edited_picture import paste_edited, render_edited
from editkit.edits import Recipe
from editkit.errors import CheckpointError, OutputError, PhotoError, UsageError
from editkit.files import ensure_folder, write_text
from editkit.latent_file import read_latent
from editkit.photo import Photo, psnr
from editkit.search_memory import check_search_fits
from editkit.video import write_video
from editkit.video_reader import add_sound, read_frames, video_facts
from projector.clip_search import ClipSearch, FrameByFrame
from projector.job import Job
from projector.sources import Source
from projector.track import filled, flicker, follow, smoothed

KEY, TRACK, BASE, LATENTS = "clip.json", "track.json", "base.safetensors", "latents"
VIDEO, REPORT = "edited.mp4", "report.json"
SCHEMA = 1
OnProgress = Callable[[str, int, int], object]
"""Called with the stage ("following", "searching", "writing"), how many frames of it are done, and of how many; 0: who
knows."""
_UNEDITED = Recipe(name="none", edits=())


@dataclass(kw_only=True, slots=True)
class _Seen:
    """What is measured while frames are written."""

    psnr: list[float] = field(default_factory=list)
    inverted: list[Tensor] = field(default_factory=list)  # the last three
    jumps: list[float] = field(default_factory=list)

    def add(self, crop: Tensor, inverted: Tensor) -> None:
        self.psnr.append(float(psnr(inverted, crop)[0]))
        self.inverted = [*self.inverted[-2:], inverted]
        if len(self.inverted) == 3:
            self.jumps.append(flicker(self.inverted))


def project_video(
    job: Job,
    source: Path,
    out: Path,
    *,
    method: FrameByFrame | None = None,
    sound: bool = True,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Invert and edit every frame of the video ``source``; write into the folder ``out``, and return the report.

    Args:
        job: generator, recipe, crop and paste; its method is not used.
        method: how codes are sought, ``FrameByFrame()`` by default.
        sound: copy the sound of ``source`` as it is.
        force: do everything again; otherwise what is there with these settings is used.

    Raises:
        PhotoError: not a video. NoFaceError: no frame shows the face.
        OutputError: nothing can be written. CheckpointError: the generator's pictures are not finite.
        UsageError: the generator's pictures are not RGB, or all faces are wanted.
    """
    method, started = method or FrameByFrame(), time.monotonic()
    if job.generator.spec.channels != 3 or job.face == "all" or job.box is not None:
        raise UsageError("a video takes an RGB generator, and one face of its first frame; a box is of one photo")
    clip = _Clip(job, source, ensure_folder(out), method, on_progress or (lambda stage, done, total: None))
    if not force and (known := clip.known_report()) is not None:
        return known | {"skipped": True}
    clip.begin(force=force)
    facts, seen = video_facts(source), _Seen()
    clip.follow()
    base, offsets = clip.search()
    with_texts = {"recipe": job.recipe.to_json()} if job.metadata else None
    rate = min(120.0, max(1.0, float(facts.rate)))
    written = write_video(
        out / VIDEO, clip.frames(base, offsets, seen), fps=rate, metadata=with_texts, note=job.metadata
    )
    heard = sound and facts.sound and add_sound(out / VIDEO, source)
    report = {
        "schema": SCHEMA,
        "key": clip.key,
        "video": source.name,
        "generator": {"id": job.generator.spec.id, "name": job.generator.spec.name},
        "edits": job.edits(),
        "frames": written.frames,
        "fps": rate,
        "size": [written.width, written.height],
        "sound": heard,
        "frames_without_face": clip.missing,
        "metrics": {"psnr_mean": sum(seen.psnr) / len(seen.psnr), "psnr_least": min(seen.psnr)},
        "flicker": sum(seen.jumps) / max(1, len(seen.jumps)),
        "flicker_is": "mean absolute second difference over time of the inverted crops, in levels of 255",
        "paste": job.paste,
        "method": asdict(method),
        "seconds": round(time.monotonic() - started, 3),
    }
    write_text(out / REPORT, json.dumps(report, indent=2) + "\n")
    return report | {"skipped": False}


class _Clip:
    """One video and its output folder."""

    def __init__(self, job: Job, source: Path, out: Path, method: FrameByFrame, told: OnProgress) -> None:
        self.job, self.source, self.out, self.method, self.told = job, source, out, method, told
        settings = json.dumps([job.settings(), asdict(method)], sort_keys=True)
        fingerprint = Source(path=source, name=source.name).fingerprint
        self.key = [hashlib.sha256(settings.encode()).hexdigest()[:16], fingerprint]
        self.points: Tensor | None = None  # [T, 5, 2], smoothed; None: the crop needs no face
        self.count, self.missing = 0, 0

    def known_report(self) -> dict[str, Any] | None:
        """The report of a run that is complete, with these settings, of this file."""
        found = _read_json(self.out / REPORT)
        return found if found.get("key") == self.key and (self.out / VIDEO).is_file() else None

    def begin(self, *, force: bool) -> None:
        """Leave what fits these settings and this file, remove the rest. Raises OutputError: they are of others."""
        ours = [self.out / name for name in (REPORT, TRACK, BASE, VIDEO, LATENTS)]
        if not (self.out / KEY).exists() and (others := [path for path in ours if path.exists()]):
            raise OutputError(f"{others[0]} is not of this command; choose another --out, so that nothing is replaced")
        if force or _read_json(self.out / KEY).get("key") != self.key:
            for path in (*ours[:3], *(self.out / LATENTS).glob("[0-9]*.safetensors")):
                path.unlink(missing_ok=True)
            write_text(self.out / KEY, json.dumps({"schema": SCHEMA, "key": self.key}) + "\n")

    def follow(self) -> None:
        """Landmarks of every frame, smoothed; the centre crop only counts frames."""
        found = _read_json(self.out / TRACK)
        if not found:
            frames = self._told("following", read_frames(self.source), 0)
            track = [None for _ in frames] if self._is_centre() else follow(frames, face=int(self.job.face))
            found = {"points": [None if points is None else points.tolist() for points in track]}
            write_text(self.out / TRACK, json.dumps(found) + "\n")
        self.count = len(found["points"])
        if self._is_centre():
            return
        self.missing = sum(points is None for points in found["points"])
        whole = filled([None if one is None else torch.tensor(one, dtype=torch.float64) for one in found["points"]])
        self.points = smoothed(whole, sigma=self.method.sigma)

    def search(self) -> tuple[Tensor, Tensor]:
        """Base codes [1, num_ws, w_dim] and offsets [T, num_ws, w_dim], smoothed."""
        G, spec = self.job.generator, self.job.generator.spec
        check_search_fits(G, batch=self.method.keyframes, perceptual=self.job.perceptual.name)
        run = ClipSearch(G, self.method, self.job.perceptual, classes=self.job.classes)
        if (self.out / BASE).is_file():
            base = read_latent(self.out / BASE).latent.check(spec).tensor.to(G.device)
        else:
            base = run.base(torch.cat(self._keyframes()))
            run.latent(base.cpu()).save(self.out / BASE)
        ensure_folder(self.out / LATENTS)
        offsets: list[Tensor] = []
        for index, crop in enumerate(self._told("searching", self.crops(), self.count)):
            place = self.out / LATENTS / f"{index:06d}.safetensors"
            if place.is_file():
                codes = read_latent(place).latent.check(spec).tensor.to(G.device)
                offsets.append(run.offset_of(base, codes))
                continue
            offsets.append(run.offset(base, crop.image, offsets[-1] if offsets else None))
            run.latent(run.codes(base, offsets[-1]).cpu()).save(place, alignment=crop.alignment)
        self.run = run
        return base, smoothed(torch.cat(offsets), sigma=self.method.sigma)

    def crops(self) -> Iterator[AlignedPhoto]:
        """The crop of every frame, at its smoothed place."""
        for index, frame in enumerate(read_frames(self.source)):
            if index >= self.count:
                raise PhotoError(f"{self.source} changed while it was read; run the same command again")
            points = None if self.points is None else self.points[index]
            photo = Photo(image=frame, path=self.source)
            yield align(photo, self.job.generator.spec, convention=self.job.convention, landmarks=points)

    def frames(self, base: Tensor, offsets: Tensor, seen: _Seen) -> Iterator[Tensor]:
        """Every frame, edited and pasted back."""
        G, job = self.job.generator, self.job
        for index, crop in enumerate(self._told("writing", self.crops(), self.count)):
            latent = self.run.latent(self.run.codes(base, offsets[index : index + 1]).cpu())
            inverted = render_edited(G, latent, _UNEDITED)
            edited = render_edited(G, latent, job.recipe)
            if not bool(torch.isfinite(edited).all() and torch.isfinite(inverted).all()):
                raise CheckpointError(f"the pictures of generator {G.spec.name!r} are not finite; load it again")
            seen.add(crop.image, inverted)
            yield paste_edited(crop, edited, inverted, job.recipe, paste=job.paste)

    def _keyframes(self) -> list[Tensor]:
        chosen = set(torch.linspace(0, self.count - 1, min(self.method.keyframes, self.count)).round().int().tolist())
        return [crop.image for index, crop in enumerate(self.crops()) if index in chosen]

    def _is_centre(self) -> bool:
        return (self.job.convention or self.job.generator.spec.alignment) == "centre"

    def _told(self, stage: str, items: Iterator[Any], total: int) -> Iterator[Any]:
        for index, item in enumerate(items):
            yield item
            self.told(stage, index + 1, total)


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
