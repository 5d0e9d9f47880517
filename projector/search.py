"""``project``: a photo to a latent, by the method it is given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit.colour import as_grey
from editkit.errors import PhotoError, UsageError
from editkit.labels import Classes
from editkit.photo import Photo, psnr, read_photo, ssim
from editkit.transform import Transform
from projector.auto import Auto, decided
from projector.driving import Found, OnStep
from projector.interruption import finished
from projector.methods import Method, settings_of
from projector.result import ProjectionResult, Stop

if TYPE_CHECKING:
    from editkit.alignment import AlignedPhoto
    from editkit.generator import Generator
    from editkit.perceptual import PerceptualDistance


def project(
    G: Generator,
    photo: AlignedPhoto | Photo | str | Path,
    method: Method | None = None,
    *,
    seed: int = 0,
    classes: Classes | None = None,
    perceptual: PerceptualDistance | None = None,
    on_step: OnStep | None = None,
) -> ProjectionResult:
    """Finds the latent of ``G`` that renders ``photo``.

    Args:
        photo: an aligned photo; a photo or a path is aligned first, as the generator expects.
        method: ``Auto``, ``Optimise``, ``Encode``, ``EncodeThenOptimise``, ``Refine`` or ``Pivotal``; by default
            ``Auto``, the best for ``G`` that leaves it as it is.
        seed: of the exploring noise; the same seed gives the same result on the same machine.
        classes: of a conditional generator, one class or dense values [c_dim] (see ``editkit.labels``): the search
            starts from that class; by default from all classes together.
        perceptual: a distance of ``editkit.perceptual``; by default LPIPS where its weights are at hand, else the
            bundled one. ``result.perceptual`` names it.
        on_step: called with a ``Step`` after each; returning False ends the search with the best so far, as Ctrl-C
            does, also while the result is measured; a second Ctrl-C raises KeyboardInterrupt.

    Raises:
        PhotoError, NoFaceError: the photo cannot be read, or no face was found.
        MemoryBudgetError: the search would not fit into the memory that is free; the message has the numbers.
        UsageError: the generator's pictures are neither RGB nor grey, or a class it does not have.
    """
    from editkit.perceptual import best_available

    check_rgb(G)
    target = target_of(G, photo).to(G.device)
    perceptual = perceptual or best_available(G.device)
    method, why = decided(method or Auto(), G, perceptual=perceptual, classes=classes)
    found = method.find(G, target, perceptual=perceptual, seed=seed, classes=classes, on_step=on_step)
    return judged(G, method, found, target, perceptual=perceptual, seed=seed, classes=classes, why=why)


def judged(
    G: Generator,
    method: Method,
    found: Found,
    target: Tensor,
    *,
    perceptual: PerceptualDistance,
    seed: int = 0,
    classes: Classes | None = None,
    why: str | None = None,
) -> ProjectionResult:
    """What was found for ``target`` [1, 3, R, R], rendered and measured. Ctrl-C as in ``project``.

    why: ``Auto`` chose the method, for ``ProjectionResult.method``.
    """
    shown = G if found.tuning is None else found.tuning.added_to(G)
    transform = found.transform or Transform.identity()

    def judge() -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            image = shown.synthesize(found.latent, transform=transform)
        return image.cpu(), measure(image, target, perceptual)

    (image, metrics), interrupted = finished(judge, interrupted=found.stop is Stop.CANCELLED)
    return ProjectionResult(
        latent=found.latent,
        transform=transform,
        image=image,
        metrics=metrics,
        perceptual=perceptual.name,
        history=found.history,
        stop=Stop.CANCELLED if interrupted else found.stop,
        method={"name": method.name, "seed": seed, **settings_of(method), **_told(classes), **_chosen(why)},
        seconds=found.seconds,
        tuning=found.tuning,
    )


def check_rgb(G: Generator) -> None:
    """Raises UsageError for a generator of other pictures than RGB or grey ones."""
    if G.spec.channels not in (1, 3):
        raise UsageError(
            f"photos are projected into generators of RGB or grey pictures; {G.spec.name!r} makes {G.spec.channels} "
            "channels, and a photo does not say what lies under its alpha: build its data with `--channels 3`"
        )


def measure(image: Tensor, target: Tensor, perceptual: PerceptualDistance) -> dict[str, float]:
    """Metrics of one picture, [1, 3, R, R] twice: see ``ProjectionResult.metrics``. NaN where a value is not finite."""
    if not bool(torch.isfinite(image).all()):
        return dict.fromkeys(("psnr", "ssim", "mse", "perceptual"), math.nan)
    with torch.no_grad():
        distance = perceptual.distance(image, target)
    shown, wanted = image.detach().cpu(), target.detach().cpu()
    return {
        "psnr": float(psnr(shown, wanted)[0]),
        "ssim": float(ssim(shown, wanted)[0]),
        "mse": float(F.mse_loss(shown, wanted)),
        "perceptual": float(distance[0]),
    }


def _told(classes: Classes | None) -> dict[str, Any]:
    """The class as the report keeps it, where one was given."""
    if classes is None:
        return {}
    return {"classes": classes.tolist() if isinstance(classes, Tensor) else classes}


def _chosen(why: str | None) -> dict[str, str]:
    return {} if why is None else {"chosen": why}


def target_of(G: Generator, photo: AlignedPhoto | Photo | str | Path) -> Tensor:
    """The crop [1, 3, R, R] of a photo, aligned if it is not, and for a generator of grey pictures made grey.

    Raises PhotoError, NoFaceError.
    """
    from editkit.alignment import AlignedPhoto, align

    if isinstance(photo, str | Path):
        photo = read_photo(photo)
    if isinstance(photo, Photo):
        photo = align(photo, G.spec)
    if not isinstance(photo, AlignedPhoto):
        raise PhotoError(f"a photo, an aligned photo or a path is projected, got {type(photo).__name__}")
    side = G.spec.resolution
    if photo.image.shape[2:] != (side, side):
        raise PhotoError(f"{G.spec.name!r} takes crops of {side} px, got {tuple(photo.image.shape[2:])}; align again")
    return as_grey(photo.image) if G.spec.channels == 1 else photo.image
