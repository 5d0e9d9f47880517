"""What was measured of a direction, in halves: from no edit to the low end of its range, and from no edit to the high.

A mean slope over both ends lets opposite leaks cancel, and one strong end cover for a weak one. So each half is
measured by itself, and the worse one counts: of what a direction is for the weaker half, of everything else the
stronger one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from editkit.errors import DirectionError

LOW, HIGH, EFFECT = "low:", "high:", "effect:"
"""What the figures of each score begin with in ``Direction.scores``."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """What happens between no edit and one strength, by score.

    Attributes:
        strength: not 0.
        slopes: mean over samples, in standard deviations of the score per unit.
        errors: standard errors of these means; 0 for a single sample, of which nothing is known.
        rising, falling: share of samples whose score rises, or falls, with strength at every step of the way.
    """

    strength: float
    slopes: Mapping[str, float]
    errors: Mapping[str, float]
    rising: Mapping[str, float]
    falling: Mapping[str, float]

    def scaled(self, factor: float) -> Part:
        """What ``factor`` times the vector does up to ``strength / factor``: the same pictures."""
        up, down = (self.rising, self.falling) if factor > 0 else (self.falling, self.rising)
        return Part(
            strength=self.strength / factor,
            slopes={name: factor * value for name, value in self.slopes.items()},
            errors={name: abs(factor) * value for name, value in self.errors.items()},
            rising=up,
            falling=down,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measurement:
    """What a direction does to each score.

    Attributes:
        parts: for every strength but 0, ascending: what happens from no edit up to there.
        samples: how many latents were edited.
    """

    parts: tuple[Part, ...]
    samples: int

    @classmethod
    def of(
        cls, strengths: Sequence[float], scores: Mapping[str, Tensor], deviation: Mapping[str, float]
    ) -> Measurement:
        """From scores [strengths, samples] at ascending ``strengths``, 0 among them, by name."""
        zero, parts = list(strengths).index(0.0), []
        for at, strength in enumerate(strengths):
            if at == zero:
                continue
            way = slice(min(at, zero), max(at, zero) + 1)
            slopes, errors, rising, falling = {}, {}, {}, {}
            for name, size in deviation.items():
                y = scores[name].double() / size
                slope = (y[at] - y[zero]) / strength  # [samples]
                slopes[name] = float(slope.mean())
                errors[name] = float(slope.std()) / len(slope) ** 0.5 if len(slope) > 1 else 0.0
                steps = y[way].diff(dim=0)
                rising[name] = float((steps > 0).all(dim=0).double().mean())
                falling[name] = float((steps < 0).all(dim=0).double().mean())
            parts.append(Part(strength=strength, slopes=slopes, errors=errors, rising=rising, falling=falling))
        return cls(parts=tuple(parts), samples=next(iter(scores.values())).shape[1])

    @property
    def strengths(self) -> tuple[float, ...]:
        """At which pictures were scored, ascending; no edit, 0, is one of them."""
        return tuple(sorted([0.0, *(part.strength for part in self.parts)]))

    @property
    def low(self) -> Part | None:
        """From no edit to the lowest strength; None where none is below 0."""
        return self.parts[0] if self.parts[0].strength < 0 else None

    @property
    def high(self) -> Part | None:
        """From no edit to the highest strength; None where none is above 0."""
        return self.parts[-1] if self.parts[-1].strength > 0 else None

    @property
    def halves(self) -> tuple[Part, ...]:
        """Those of ``low`` and ``high`` that there are."""
        return tuple(half for half in (self.low, self.high) if half is not None)

    @property
    def means(self) -> dict[str, float]:
        """Mean slope of the halves, by score: what a linear search goes by. Opposite slopes cancel in it."""
        return {n: sum(half.slopes[n] for half in self.halves) / len(self.halves) for n in self.halves[0].slopes}

    @property
    def effects(self) -> dict[str, float]:
        """Slope of the weaker half, by score: what it can be relied on to do; 0 where the halves go opposite ways."""
        found = {}
        for name, mean in self.means.items():
            least = min((half.slopes[name] for half in self.halves), key=abs)
            found[name] = least if all(half.slopes[name] * mean > 0 for half in self.halves) else 0.0
        return found

    @property
    def leaks(self) -> dict[str, float]:
        """Slope of the stronger half, by score: what it does besides."""
        return {name: max((half.slopes[name] for half in self.halves), key=abs) for name in self.halves[0].slopes}

    @property
    def errors(self) -> dict[str, float]:
        """Standard error of a half's slope, the larger one, by score."""
        return {name: max(half.errors[name] for half in self.halves) for name in self.halves[0].errors}

    @property
    def monotonicity(self) -> dict[str, float]:
        """Share of samples whose score goes the effect's way at every step of a half, in the worse half, by score."""
        return {
            name: min((half.rising if mean >= 0 else half.falling)[name] for half in self.halves)
            for name, mean in self.means.items()
        }

    @property
    def target(self) -> str:
        """The score that it moves most: what to name it for."""
        effects = self.effects
        return max(effects, key=lambda name: abs(effects[name]))

    def scaled(self, factor: float) -> Measurement:
        """What ``factor`` times the vector does over the range divided by ``factor``: the same pictures."""
        return replace(self, parts=tuple(sorted((p.scaled(factor) for p in self.parts), key=lambda p: p.strength)))

    def within(self, low: float, high: float) -> Measurement:
        """The same between two strengths, both of which were measured (or 0)."""
        return replace(self, parts=tuple(part for part in self.parts if low <= part.strength <= high))

    def without(self, names: Collection[str]) -> Measurement:
        """The same with the scores of these names left out."""

        def kept(figures: Mapping[str, float]) -> dict[str, float]:
            return {name: value for name, value in figures.items() if name not in names}

        parts = (
            replace(p, slopes=kept(p.slopes), errors=kept(p.errors), rising=kept(p.rising), falling=kept(p.falling))
            for p in self.parts
        )
        return replace(self, parts=tuple(parts))

    def judged(self, target: str | None = None) -> dict[str, float]:
        """The slope that counts, by score: of ``target`` (by default, the strongest) ``effects``, else ``leaks``."""
        target = self.target if target is None else target
        effects = self.effects
        if target not in effects:
            raise DirectionError(f"no score {target!r} was measured; there are {', '.join(sorted(effects))}")
        return {**self.leaks, target: effects[target]}

    def leakage(self, target: str | None = None) -> dict[str, float]:
        """The stronger half's slope on every other score, as a share of the weaker half's on ``target``."""
        target = self.target if target is None else target
        counted = self.judged(target)
        main = abs(counted.pop(target))
        return {name: abs(slope) / main if main else math.inf for name, slope in counted.items()}

    def worst_leakage(self, target: str | None = None) -> float:
        """The largest of ``leakage``; 0 where nothing else was measured."""
        return max(self.leakage(target).values(), default=0.0)

    def as_scores(self, target: str | None = None) -> dict[str, float]:
        """Flat figures for ``Direction.scores``.

        low:<score> and high:<score> for the halves that there are, effect:<score> for the one that counts,
        monotonicity and leakage of ``target``, and error, the largest standard error of a slope.
        """
        target = self.target if target is None else target
        figures = {f"{EFFECT}{name}": round(slope, 4) for name, slope in self.judged(target).items()}
        for word, half in ((LOW, self.low), (HIGH, self.high)):
            figures |= {} if half is None else {f"{word}{n}": round(slope, 4) for n, slope in half.slopes.items()}
        figures["monotonicity"] = round(self.monotonicity[target], 4)
        figures["error"] = round(max(self.errors.values()), 4)
        leaked = self.worst_leakage(target)
        if math.isfinite(leaked):
            figures["leakage"] = round(leaked, 4)
        return figures

    def doubted(self, target: str, errors: float) -> dict[str, float]:
        """What ``Bars`` ask for, each figure worse by so many standard errors: kept bars hold on other samples too."""
        error, share = self.errors, self.monotonicity[target]
        effect = max(0.0, abs(self.effects[target]) - errors * error[target])
        leaks = [abs(half.slopes[n]) + errors * half.errors[n] for half in self.halves for n in error if n != target]
        figures = {f"{EFFECT}{target}": effect, f"{LOW}{target}": effect, f"{HIGH}{target}": effect}
        figures["monotonicity"] = share - errors * (share * (1 - share) / self.samples) ** 0.5
        if effect:
            figures["leakage"] = max(leaks, default=0.0) / effect
        return figures
