"""Losses of generator training: reconstruction at several scales, and the regularised relativistic game."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def multiscale_l1(image: Tensor, target: Tensor, *, scales: int = 3) -> Tensor:
    """Mean absolute difference of pixels and of their gradients, summed over ``scales`` halvings.

    Args:
        image, target: [N, C, R, R] in [-1, 1].

    Returns:
        a scalar.
    """
    total = image.new_zeros([])
    for scale in range(scales):
        if scale:
            image, target = F.avg_pool2d(image, 2), F.avg_pool2d(target, 2)
        difference = image - target
        edges_x, edges_y = (
            difference[..., :, 1:] - difference[..., :, :-1],
            difference[..., 1:, :] - difference[..., :-1, :],
        )
        total = total + difference.abs().mean() + edges_x.abs().mean() + edges_y.abs().mean()
    return total


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:
    """softplus(worse - better), averaged: the pairing loss of Jolicoeur-Martineau 2019 in its logistic form.

    The discriminator passes (real, fake) logits, the generator (fake, real).
    """
    return F.softplus(worse - better).mean()


def gradient_penalty(discriminator: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared norm of the discriminator's gradient at ``images``, and its logits there.

    R1 on real images, R2 on generated ones (Mescheder et al. 2018, equation 9); half the weight gamma multiplies it.
    """
    images = images.detach().requires_grad_(True)
    logits = discriminator(images)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum([1, 2, 3]).mean(), logits
