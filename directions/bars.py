"""The bars: what a direction must have been measured to do before it is offered without being asked for."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from directions.measurement import EFFECT, HIGH, LOW
from editkit.direction import Direction

DECIDED = "decided:"
"""What figures begin with that decided against a direction; see ``decided``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """Least and largest figures of a direction that is offered by default, each in the worse half of its range.

    Attributes:
        effect: standard deviations of its score that a unit must move, to two decimals.
        leakage: largest effect on another score, in either half, as a share of its own in the weaker one.
        monotonicity: share of samples whose score goes the right way at every step of a half.
        reach: how far from a sample an edit may go, in standard deviations of W (root mean square over edited rows).
    """

    effect: float = 1.0
    leakage: float = 0.3
    monotonicity: float = 0.9
    reach: float = 3.0

    def failures(self, scores: Mapping[str, float], target: str) -> tuple[str, ...]:
        """Which bars ``Direction.scores`` miss, in words; empty for a direction that passes."""
        effect, leakage = scores.get(f"{EFFECT}{target}"), scores.get("leakage")
        if effect == 0 and leakage is None:
            return (f"the two halves of its range move {target} opposite ways, or not at all",)
        if effect is None or leakage is None or scores.get("monotonicity") is None:
            return ("it was never judged",)
        if f"{LOW}{target}" not in scores and f"{HIGH}{target}" not in scores:
            return ("it was judged by an older editkit, not in halves: `editkit directions score NAME --save`",)
        return (*self._undecided(scores, target), *self._missed(scores, target))

    def _undecided(self, scores: Mapping[str, float], target: str) -> tuple[str, ...]:
        """What it missed, with doubts, on the samples that decide."""
        if scores.get("accepted", 1.0):
            return ()
        told = {key.removeprefix(DECIDED): value for key, value in scores.items() if key.startswith(DECIDED)}
        missed = self._missed(told, target)
        said = f" (with doubts, {'; '.join(missed)})" if missed else ""
        return (f"it missed the bars on the samples that decide{said}",)

    def _missed(self, scores: Mapping[str, float], target: str) -> tuple[str, ...]:
        """Of the figures that there are."""
        missed = []
        effect, leakage = scores.get(f"{EFFECT}{target}"), scores.get("leakage")
        monotonicity = scores.get("monotonicity")
        if effect is not None and round(abs(effect), 2) < self.effect:
            missed.append(f"a unit moves {target} by {abs(effect):.2f} sd, below {self.effect:g}")
        if leakage is not None and leakage > self.leakage:
            missed.append(f"leakage of {leakage:.2f} is above {self.leakage:g}")
        if monotonicity is not None and monotonicity < self.monotonicity:
            missed.append(f"monotone on {monotonicity:.0%} of samples, below {self.monotonicity:.0%}")
        return tuple(missed)


def decided(doubted: Mapping[str, float], target: str) -> dict[str, float]:
    """Figures to keep of a direction that was not accepted, by its ``Measurement.doubted`` figures."""
    names = (f"{EFFECT}{target}", "leakage", "monotonicity")
    return {"accepted": 0.0} | {f"{DECIDED}{name}": round(doubted[name], 4) for name in names if name in doubted}


def target_of(direction: Direction) -> str | None:
    """The score that a direction is judged by; None if never judged.

    The one in its file; in older files, which do not say, that of its name, else the one it moves most.
    """
    effects = {key.removeprefix(EFFECT): abs(v) for key, v in direction.scores.items() if key.startswith(EFFECT)}
    return intended(direction, effects) or max(effects, key=lambda name: effects[name], default=None)


def told(direction: Direction) -> str:
    """The figures that decide, as a few words: both halves of the effect, and the leakage; "" if never judged."""
    scores, target = direction.scores, target_of(direction)
    halves = [f"{word} {scores[key]:+.2f}" for word in (LOW, HIGH) if (key := f"{word}{target}") in scores]
    if not halves:
        return ""
    leakage = f", leakage {scores['leakage']:.2f}" if "leakage" in scores else ""
    return f"sd a unit {', '.join(half.replace(':', '') for half in halves)}{leakage}"


def intended(direction: Direction, known: Container[str]) -> str | None:
    """Which of the ``known`` scores a direction says that it is for, by its target or by its name; None for none."""
    return next((told for told in (direction.target, direction.name) if told in known), None)


def is_judged(figure: str) -> bool:
    """Whether a figure of ``Direction.scores`` comes from judging it. Others stay when it is judged again: other
    samples do not overrule those that decide, "accepted"."""
    return figure.startswith((EFFECT, LOW, HIGH)) or figure in ("leakage", "monotonicity", "error", "kept")


def failures(direction: Direction, bars: Bars | None = None) -> tuple[str, ...]:
    """Which bars a direction misses by the figures in its file, in words; empty for one that passes."""
    return (bars or Bars()).failures(direction.scores, target_of(direction) or direction.name)
