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
import importlib
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
from editkit.direction import Direction
from editkit.errors import CheckpointError, DirectionError, MissingWeightsError, UsageError
from editkit.labels import Classes
from editkit.safetensors_format import SafetensorError
from editkit.safetensors_format import load as load_safetensors
from editkit.torchvision_remedy import import_torchvision

if TYPE_CHECKING:
    from types import ModuleType

    from editkit.generator import Generator

DEFAULT_MODEL = "ViT-B-32"
# Mean and standard deviation of the pictures that CLIP was trained on (Radford et al. 2021), in [0, 1].
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


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
    mean: tuple[float, float, float] = _MEAN
    deviation: tuple[float, float, float] = _DEVIATION
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
    open_clip = _open_clip()
    if model not in open_clip.list_models():
        raise UsageError(f"open_clip knows no model {model!r}; `open_clip.list_models()` lists them, such as ViT-B-32")
    text = open_clip.get_model_config(model).get("text_cfg", {})
    if text.get("hf_tokenizer_name") or text.get("hf_model_name"):
        raise UsageError(
            f"{model} needs a tokenizer from the network, which is never fetched; take one such as ViT-B-32"
        )
    tensors = _state(Path(weights))
    network = open_clip.create_model(
        model, pretrained=None, load_weights=False, pretrained_image=False, pretrained_text=False
    )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as problem:
        reason = str(problem).splitlines()[1 if "\n" in str(problem) else 0].strip()[:150]
        raise CheckpointError(f"{weights}: not the weights of {model} ({reason}); name its model") from problem
    visual = network.visual
    side = visual.image_size
    return ClipEncoder(
        model=network.to(device),
        tokenize=open_clip.get_tokenizer(model),
        size=(side, side) if isinstance(side, int) else tuple(side),
        mean=tuple(getattr(visual, "image_mean", None) or _MEAN),
        deviation=tuple(getattr(visual, "image_std", None) or _DEVIATION),
        name=f"{model}, {Path(weights).name}",
    )


def _open_clip() -> ModuleType:
    try:
        import_torchvision()  # whose operators may be built for another torch
        return importlib.import_module("open_clip")
    except (ImportError, RuntimeError) as error:
        raise MissingWeightsError(
            f"directions from text need open_clip, which does not import ({error}): pip install open_clip_torch"
        ) from error


def _state(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise MissingWeightsError(
            f"{file}: no such file; give weights of CLIP that are on this machine (an open_clip .safetensors, .pt or "
            ".bin): nothing is downloaded"
        )
    try:
        if file.suffix == ".safetensors":
            return load_safetensors(file.read_bytes())
        content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as problem:
        raise CheckpointError(f"{file}: cannot be read ({problem.strerror or problem})") from problem
    except (SafetensorError, ValueError, KeyError) as problem:
        raise CheckpointError(f"{file}: not a readable safetensors file ({problem}); get it again") from problem
    except Exception as problem:  # the unpickler of torch raises errors of many kinds, all of which say no
        raise CheckpointError(f"{file}: not a file of plain tensors; anything else in it is never loaded") from problem
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{file}: holds no state dict of plain tensors")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}
