"""A direction from two sentences, through CLIP: "a face" -> "a smiling face".

Patashnik et al., "StyleCLIP: Text-Driven Manipulation of StyleGAN Imagery" (ICCV 2021), section 6: the difference of
the two sentences' embeddings is the wanted change of the picture's embedding, and the channels of StyleSpace that make
it are collected into one direction. Departure: a channel's relevance is the gradient of the change along it
(``directions.style_gradient``), not a difference of two pictures a channel; sentences are not wrapped in templates
unless they are given.

The extra ``clip`` brings open_clip. Weights are a file of yours, and nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from directions.attributes import Scorer
from directions.methods import Progress
from directions.style_gradient import StyleGradient
from editkit.clip_network import DEVIATION, MEAN, clip_network, import_open_clip, input_of
from editkit.direction import Direction
from editkit.errors import DirectionError
from editkit.labels import Classes

if TYPE_CHECKING:
    from editkit.generator import Generator

DEFAULT_MODEL = "ViT-B-32"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipEncoder:
    """Pictures and sentences to unit vectors of one space. ``load_clip`` makes one.

    Attributes:
        model: with ``encode_image`` and ``encode_text``, as open_clip's; in evaluation mode, frozen.
        tokenize: sentences -> tokens [N, length].
        size: (height, width) of the pictures it takes.
        mean, deviation: of its pictures' channels, in [0, 1].
        name: for references.
    """

    model: Any = field(repr=False)
    tokenize: Callable[[list[str]], Tensor] = field(repr=False)
    size: tuple[int, int]
    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION
    name: str = "clip"

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)

    def images(self, images: Tensor) -> Tensor:
        """[N, 3, R, R] in [-1, 1] -> unit vectors [N, E]; differentiable."""
        sized = F.interpolate(images, size=self.size, mode="bicubic", antialias=True, align_corners=False)
        mean, deviation = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.deviation))
        return F.normalize(self.model.encode_image((sized.clamp(-1, 1) * 0.5 + 0.5 - mean) / deviation), dim=1)

    def sentences(self, sentences: Sequence[str]) -> Tensor:
        """Unit vectors [N, E]."""
        device = next(self.model.parameters()).device
        with torch.no_grad():
            return F.normalize(self.model.encode_text(self.tokenize(list(sentences)).to(device)), dim=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextDirection:
    """The method for ``directions.find``: one direction in s, from one sentence to another.

    Attributes:
        neutral, target: the sentences: "a face", "a smiling face".
        encoder: see ``load_clip``.
        name: of the direction.
        templates: patterns with one {} into which both are put; their embeddings are averaged.
        keep: scorers that should stay as they are.
        channels, layers, samples, seed, classes: see ``StyleGradient``.
    """

    neutral: str
    target: str
    encoder: ClipEncoder
    name: str
    templates: tuple[str, ...] = ("{}",)
    keep: tuple[Scorer, ...] = ()
    channels: int = 40
    layers: tuple[str, ...] | None = None
    samples: int = 32
    seed: int = 0
    classes: Classes | None = None

    def find(self, G: Generator, *, on_progress: Progress | None = None) -> tuple[Direction, ...]:
        """One direction whose unit is one standard deviation of the text's score. Raises DirectionError."""
        scorer = text_scorer(
            self.encoder, neutral=self.neutral, target=self.target, name=self.name, templates=self.templates
        )
        method = StyleGradient(
            scorer=scorer,
            keep=self.keep,
            channels=self.channels,
            layers=self.layers,
            samples=self.samples,
            seed=self.seed,
            classes=self.classes,
        )
        reference = f'"{self.neutral}" to "{self.target}" by {self.encoder.name}; Patashnik et al. 2021, section 6'
        found = method.find(G, on_progress=on_progress)
        return tuple(replace(one, name=self.name, method="text", reference=reference[:500]) for one in found)


def text_scorer(
    encoder: ClipEncoder, *, neutral: str, target: str, name: str, templates: Sequence[str] = ("{}",)
) -> Scorer:
    """How far a picture lies along the way from one sentence to the other. It serves every method that takes a scorer.

    Raises DirectionError: an empty sentence, a template without {}, or two sentences that CLIP does not tell apart.
    """
    if not neutral.strip() or not target.strip():
        raise DirectionError("a direction from text needs two sentences; one is empty")
    if not templates or any(template.count("{}") != 1 for template in templates):
        raise DirectionError(f"a template holds one {{}} for the sentence, got {list(templates)!r:.200}")
    ends = [encoder.sentences([t.replace("{}", text) for t in templates]).mean(0) for text in (neutral, target)]
    step = F.normalize(ends[1], dim=0) - F.normalize(ends[0], dim=0)  # delta t
    if not bool(torch.isfinite(step).all()) or float(step.norm()) < 1e-4:
        raise DirectionError(f"{encoder.name} does not tell {neutral!r} from {target!r}; say it differently")
    step = F.normalize(step, dim=0)
    return Scorer(
        name=name,
        unit="cosine",
        measure=lambda images: encoder.images(images) @ step.to(images.device),
        description=f'Positive: nearer to "{target}" than to "{neutral}".',
        version=_fingerprint(encoder, step),
    )


def _fingerprint(encoder: ClipEncoder, step: Tensor) -> str:
    """Differs for other sentences, templates and weights, whose scores are others; told by what the model says."""
    stripes = torch.linspace(-1, 1, 32).sin().mul(9).cos().expand(1, 3, 32, 32)
    with torch.no_grad():
        seen = encoder.images(stripes.to(step.device))[0]
    said = torch.cat([step.flatten(), seen]).double().cpu().mul(1000).round().int().tolist()
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]


def load_clip(weights: str | Path, *, model: str = DEFAULT_MODEL, device: torch.device | str = "cpu") -> ClipEncoder:
    """An open_clip model with the weights in a local file, .safetensors or a state dict in .pt or .bin.

    Raises:
        MissingWeightsError: open_clip is not installed, or there is no such file.
        CheckpointError: damaged, not plain tensors, or of another model.
        UsageError: an unknown model, or one whose tokenizer would have to be downloaded.
    """
    network = clip_network(model, Path(weights), tokenizer=True)
    size, mean, deviation = input_of(network)
    return ClipEncoder(
        model=network.to(device),
        tokenize=import_open_clip().get_tokenizer(model),
        size=size,
        mean=mean,
        deviation=deviation,
        name=f"{model}, {Path(weights).name}",
    )
