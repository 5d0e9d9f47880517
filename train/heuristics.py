"""Settings that follow from the resolution and the batch, as published.

Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix C (gamma, averages);
Karras et al. 2020, StyleGAN2, appendix B (optimisers of lazily regularised networks).
"""

from __future__ import annotations

from editkit.errors import UsageError


def gamma_for(resolution: int, batch: int) -> float:
    """Weight of R1: 0.0002 R^2 / batch. A start; the papers searched a factor of 4 up and down.

    6.55 at 1024 pixels and 32 images, 0.41 at 256 and 32.
    """
    if resolution < 1 or batch < 1:
        raise UsageError(f"gamma needs a resolution and a batch from 1, got {resolution} and {batch}")
    return 0.0002 * resolution**2 / batch


def average_kimg_for(batch: int) -> float:
    """Half-life of the generator's running average, in thousands of images: 10 at a batch of 32."""
    if batch < 1:
        raise UsageError(f"the average needs a batch from 1, got {batch}")
    return batch * 10 / 32


def lazy_adam(learning_rate: float, betas: tuple[float, float], *, interval: int) -> tuple[float, tuple[float, float]]:
    """Adam's settings for a network that is penalised every ``interval`` steps, as if every step did both.

    With c = interval / (interval + 1): rate c lr, betas b^c.
    """
    if interval < 1:
        raise UsageError(f"the interval of a penalty is at least 1, got {interval}")
    c = interval / (interval + 1)
    return learning_rate * c, (betas[0] ** c, betas[1] ** c)
