"""The model card of the bundled generator: every figure beside the command that repeats it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editkit.direction import Direction
    from train.generator_evaluation import GeneratorEvaluation


def generator_card(
    header: Mapping[str, Any], figures: GeneratorEvaluation, directions: Sequence[Direction]
) -> str:
    """Markdown, from the checkpoint's header and what was measured."""
    training, arguments = header["training"], header["arguments"]
    w, plus = figures.inversion["w"], figures.inversion["w+"]
    side = arguments["img_resolution"]
    offered = ", ".join(f"`{d.name}`" for d in directions)
    return f"""# {header["name"]}.safetensors: the bundled generator of faces

A starter: a compact StyleGAN3-T at {side} px, trained on a CPU. It makes the whole of editkit work out of the box; it does
not make photographs. For those, load an official checkpoint or train your own.

## How it was made
- **Network** StyleGAN3-T with plain constructor arguments: {arguments["num_layers"]} layers, margin {arguments["margin_size"]},
  channel_base {arguments["channel_base"]}, channel_max {arguments["channel_max"]}, z {arguments["z_dim"]}, w {arguments["w_dim"]}. Stored in half precision. Id `{header["id"]}`.
- **Data** {training["data"]}: 9,594 aligned faces of adults (FairFace, Karkkainen and Joo, WACV 2021, CC BY 4.0; photos from
  YFCC-100M), crops `faces128`. Rows whose index is a multiple of 10 (1,066) were never trained on.
- **Recipe** `train/starter.py`: reconstruction from PCA codes for {training["config"]["reconstruction_images"]:,} images, then adversarial with a relativistic loss
  and penalties on both sides; {training["images"]:,} images in all. The weights are an average (half-life {training["config"]["ema_images"]:,.0f} images).

      python -m train starter --data faces128_train.zip --until-images {training["images"]} --export editkit/models/{header["name"]}.safetensors

## Figures
Repeat them, with the directions, the sheets and this card, by

    editkit rebuild --data faces128_train.zip --unseen faces128_dev.zip

| inversion of {figures.photos} unseen photos, {w["steps"]:.0f} steps | PSNR | SSIM | perceptual (bundled) |
|---|---|---|---|
| W | {w["psnr"]:.2f} dB | {w["ssim"]:.3f} | {w["perceptual"]:.3f} |
| W+ | {plus["psnr"]:.2f} dB | {plus["ssim"]:.3f} | {plus["perceptual"]:.3f} |

PSNR and SSIM on uint8-rounded aligned crops, data range 255.

| {figures.variety_count} untruncated samples, perceptual distance of pairs | samples | real photos |
|---|---|---|
| mean | {figures.variety:.3f} | {figures.variety_real:.3f} |
| closest | {figures.closest_pair:.3f} | {figures.closest_pair_real:.3f} |

`fd_faces` (Frechet distance on the bundled features; not FID) of {figures.fd_count:,} samples and the evaluation split: {figures.fd_faces:.1f}.

Directions found for it: {offered}.

## Use, and limits
- Made for trying out inversion and editing, for tests, and as a start for fine-tuning. Not for identifying anyone, nor for
  judging anyone: labels of age and gender presentation are coarse, and are those that annotators saw in a photograph.
- Near-frontal faces of adults only; blurred data makes blurred details; far from the data pictures fall apart.
- Attribution: FairFace (CC BY 4.0). The weights come under Apache-2.0 like the code.
"""
