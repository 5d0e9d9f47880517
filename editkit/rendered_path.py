"""Frames along a path, rendered as they are asked for: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from editkit.easing import Easing, eased, linear
from editkit.edits import as_styles
from editkit.errors import LatentError, UsageError
from editkit.latent import Latent, concatenate
from editkit.motion import Motion, transform_curve
from editkit.paths import Curve, Linear, Slerp, Spline, Timing, timing
from editkit.rendering import render
from editkit.sampling import check_cutoff
from editkit.transform import Transform
from editkit.weight_delta import between

if TYPE_CHECKING:
    from editkit.generator import Generator
    from editkit.weight_delta import WeightDelta


class RenderedPath:
    """What ``render_path`` gives: iterate over it for frames, float32 [3, R, R] on the CPU; ``len`` is their number.

    Every iteration renders anew. ``latent(i)`` and ``transform(i)`` are what frame i is rendered from.
    """

    def __init__(
        self,
        G: Generator,
        length: int,
        latent: Callable[[int], Latent],
        transform: Callable[[int], Transform] | None,
        batch: int,
        on_progress: Callable[[int, int], object] | None,
        drawn_by: Callable[[int], Generator] | None = None,
    ) -> None:
        self._G, self._length, self._batch, self._on_progress = G, length, batch, on_progress
        self._latent, self._transform, self._drawn_by = latent, transform, drawn_by

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Tensor]:
        batch = self._batch if self._drawn_by is None else 1
        for start in range(0, self._length, batch):
            stop = min(start + batch, self._length)
            latent = concatenate(self._latent(i) for i in range(start, stop))
            placed = None
            if self._transform is not None:
                placed = Transform(matrix=torch.cat([self._transform(i).matrix for i in range(start, stop)]))
            G = self._G if self._drawn_by is None else self._drawn_by(start)
            yield from render(G, latent, transform=placed, batch=batch)
            if self._on_progress is not None:
                self._on_progress(stop, self._length)

    def latent(self, frame: int) -> Latent:
        """The code of a frame, one sample in w, w+ or s. Raises IndexError."""
        return self._latent(range(self._length)[frame])

    def transform(self, frame: int) -> Transform | None:
        """The placement of a frame, None where nothing is placed. Raises IndexError."""
        frame = range(self._length)[frame]
        return None if self._transform is None else self._transform(frame)


def render_path(
    G: Generator,
    latents: Latent | Sequence[Latent],
    *,
    frames: int,
    transforms: Transform | Sequence[Transform | None] | None = None,
    curve: Curve | None = None,
    easing: Easing = linear,
    loop: bool = False,
    durations: Sequence[float] | None = None,
    motion: Motion | None = None,
    label: Tensor | None = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    tunings: Sequence[WeightDelta | None] | None = None,
    batch: int = 8,
    on_progress: Callable[[int, int], object] | None = None,
) -> RenderedPath:
    """Frames on the way through keyframes; every keyframe is one of them, exactly.

    Args:
        latents: keyframes in one space (w with w+ gives w+, either with s gives s; z is mapped frame by frame); every
            sample is a keyframe.
        frames: how many, at least one a keyframe.
        transforms: placements of the keyframes: one a keyframe (None: in place), or one for all. One latent with
            several transforms stays what it is and moves.
        curve: ``Linear()``, ``Spline()`` or, in z, ``Slerp()``; by default Slerp in z, else Linear.
        easing: of every segment, see ``editkit.easing``; where nothing but ``motion`` moves, of that.
        loop: the path goes on to the first keyframe, whose frame is not repeated.
        durations: of the segments, in any unit; even by default.
        motion: a movement on top of the keyframes' placements.
        label: of latents in z: ``[c_dim]``, ``[1, c_dim]`` or one a keyframe ``[K, c_dim]``, then interpolated.
        truncation_psi: of latents in z, see ``Generator.map``.
        truncation_cutoff: likewise.
        tunings: what pivotal tuning added to ``G`` for each keyframe, None: nothing. The weights go from one to the
            next, straight, as the codes do; each frame is then rendered by itself.
        batch: frames rendered at a time.
        on_progress: called with (done, total) frames after each batch.

    Raises:
        UsageError: one keyframe and nothing that moves, all keyframes alike, too few frames, numbers that do not fit.
        LatentError, GeneratorMismatchError: keyframes of different spaces or generators.
    """
    if batch < 1:
        raise UsageError(f"batch is at least 1, got {batch}")
    if not isinstance(latents, Latent) and not latents:
        raise UsageError("a path needs keyframes; give at least one latent")
    check_cutoff(G, truncation_cutoff)
    joined = latents if isinstance(latents, Latent) else concatenate(_one_space(G, latents))
    codes = joined.detach().check(G.spec).check_finite()
    placed = _placements(transforms)
    keyframes = max(len(codes), 1 if placed is None else len(placed))
    for what, count in (("latents", len(codes)), ("transforms", 1 if placed is None else len(placed))):
        if count not in (1, keyframes):
            raise UsageError(f"{count} {what} do not go with {keyframes} keyframes; give one, or one a keyframe")
    if not motion and not _differ(codes, placed):
        raise UsageError("a path of no length: all keyframes are alike and nothing moves; give others, or a motion")
    if motion and keyframes == 1:
        if frames < 2 or durations is not None:
            raise UsageError(f"a motion of one keyframe takes at least 2 frames and no durations, got {frames} frames")
        times = Timing(steps=(frames - (not loop),), loop=loop)
    else:
        times = timing(keyframes, frames, durations=durations, loop=loop)
    curve = curve or (Slerp() if codes.space == "z" else Linear())
    code_at = (lambda segment, t: codes) if len(codes) == 1 else curve.through(codes, times)
    label_at = _label_curve(codes, label, len(codes))

    def latent_of(frame: int) -> Latent:
        segment, t = times.position(frame)
        t = eased(easing, t)
        code = code_at(segment, t)
        if code.space != "z":
            return code
        with torch.no_grad():
            return G.map(
                code.tensor.to(G.device),
                label=None if label_at is None else label_at(segment, t).to(G.device),
                truncation_psi=truncation_psi,
                truncation_cutoff=truncation_cutoff,
            )

    moved = _moves(placed, motion, times, easing if keyframes == 1 else linear, isinstance(curve, Spline))
    drawn_by = None
    if tunings is not None and any(one is not None for one in tunings):
        if len(tunings) != keyframes:
            raise UsageError(f"{len(tunings)} tunings do not go with {keyframes} keyframes; give one a keyframe")
        drawn_by = _tuned(G, tunings, times, easing)
    if moved is None:
        return RenderedPath(G, frames, latent_of, None, batch, on_progress, drawn_by)

    def transform_of(frame: int) -> Transform:
        segment, t = times.position(frame)
        return moved(segment, eased(easing, t), frame)

    moved(0, 0.0, 0)  # a motion that does not go with a loop is refused here, not at the first frame
    return RenderedPath(G, frames, latent_of, transform_of, batch, on_progress, drawn_by)


def _tuned(
    G: Generator, tunings: Sequence[WeightDelta | None], times: Timing, easing: Easing
) -> Callable[[int], Generator]:
    """What draws a frame: ``G`` with the weights between those of the keyframes around it; the latest one is kept."""
    latest: list[tuple[WeightDelta, Generator]] = []

    def drawn_by(frame: int) -> Generator:
        segment, t = times.position(frame)
        t = eased(easing, t)
        ends = tunings[segment % len(tunings)], tunings[(segment + 1) % len(tunings)]
        delta = between(*ends, t)
        if delta is None:
            return G
        if not latest or latest[0][0] is not delta:
            latest[:] = [(delta, delta.added_to(G))]
        return latest[0][1]

    return drawn_by


def _one_space(G: Generator, latents: Sequence[Latent]) -> list[Latent]:
    """All in s where one is: an edit along a direction in s leads there from w+."""
    if not any(one.space == "s" for one in latents):
        return list(latents)
    return [as_styles(one, G) for one in latents]


def _placements(transforms: Transform | Sequence[Transform | None] | None) -> Transform | None:
    if transforms is None:
        return None
    if isinstance(transforms, Transform):
        transforms = [transforms]
    found = [Transform.identity() if one is None else one for one in transforms]
    if not found:
        raise UsageError("transforms is empty; give one a keyframe, or None")
    return Transform(matrix=torch.cat([one.matrix.detach().cpu().double() for one in found]))


def _differ(codes: Latent, placed: Transform | None) -> bool:
    tensors = [*codes.named_tensors().values(), *([] if placed is None else [placed.matrix])]
    return any(bool((tensor != tensor[:1]).any()) for tensor in tensors)


def _moves(
    placed: Transform | None, motion: Motion | None, times: Timing, easing: Easing, smooth: bool
) -> Callable[[int, float, int], Transform] | None:
    """The placement as a function of segment, t and frame; None where there is none."""
    if placed is None and not motion:
        return None
    still = placed if placed is not None else Transform.identity()
    placed_at = (lambda segment, t: still) if len(still) == 1 else transform_curve(still, times, smooth=smooth)
    if not motion:
        return lambda segment, t, frame: placed_at(segment, t)
    end = times.frames - (not times.loop)

    def at(segment: int, t: float, frame: int) -> Transform:
        share = frame / end
        return motion.at(share if times.loop else eased(easing, share), loop=times.loop) @ placed_at(segment, t)

    return at


def _label_curve(codes: Latent, label: Tensor | None, keyframes: int) -> Callable[[int, float], Tensor] | None:
    """Labels [1, c_dim] as a function of segment and t."""
    if label is None:
        return None
    if codes.space != "z":
        raise LatentError(f"a label belongs to latents in z; these are in {codes.space} and have theirs in them")
    label = label[None] if label.ndim == 1 else label
    if label.ndim != 2 or len(label) not in (1, keyframes):
        raise UsageError(f"labels are [c_dim] or [{keyframes}, c_dim], one a keyframe, got {list(label.shape)}")
    labels = label.expand(keyframes, -1)

    def at(segment: int, t: float) -> Tensor:
        start = labels[segment % keyframes]
        return torch.lerp(start, labels[(segment + 1) % keyframes], t)[None]

    return at
