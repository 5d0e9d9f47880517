"""The residual discriminator against the reference, first and second derivatives included."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import absolute_error, network_fixture, relative_error

from editkit.networks.discriminator import Discriminator, minibatch_std
from editkit.ops.backends import use_backend


def _network(**changes: object) -> Discriminator:
    """With the fixture's weights and, unless changed, its arguments."""
    fixture = network_fixture("d_64_resnet")
    made = Discriminator(**(fixture.arguments | changes))
    made.load_state_dict(fixture.weights)
    return made


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_logits_and_gradients_match_the_reference(backend: str, layout: torch.memory_format) -> None:
    """Channels last takes our own weight gradient; the penalty of Mescheder 2018, eq. 9, differentiates twice."""
    fixture, model = network_fixture("d_64_resnet"), _network()
    model.to(memory_format=layout)  # type: ignore[call-overload]
    images = fixture.tensor("img").contiguous(memory_format=layout).requires_grad_()
    with use_backend(backend):
        logits = model(images)
        assert absolute_error(logits, fixture.tensor("logits")) <= 5e-6
        for count in (4, 1):  # other groups, other logits: they see the spread of their group
            assert absolute_error(model(images[:count]), fixture.tensor(f"logits_batch{count}")) <= 5e-6
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        seen, wanted = fixture.seen(gradient).detach(), fixture.tensor("grad_img")
        # summed in another order, one activation of sample 6 falls on the other side of its kink:
        # a spot of 16 x 16 pixels, in that layout only
        spot = 0 if layout == torch.contiguous_format else 16 * 16 * 3 / gradient.numel()
        off = (seen - wanted).abs() > 1e-4 * wanted.abs().max()
        assert off.double().mean() <= spot
        assert torch.nn.functional.cosine_similarity(seen.flatten(), wanted.flatten(), dim=0) > 1 - 1e-5
        penalty = gradient.square().sum([1, 2, 3])
        assert relative_error(penalty, fixture.tensor("r1_penalty")) <= (1e-4 if spot == 0 else 1e-3)
        names = [str(name) for name in fixture.io["r1_grad_param_names"]]
        gradients = torch.autograd.grad(5 * penalty.mean(), [model.get_parameter(name) for name in names])
    for name, found, norm, total in zip(
        names, gradients, fixture.io["r1_grad_param_l2"], fixture.io["r1_grad_param_sum"], strict=True
    ):
        assert abs(found.double().norm().item() - norm) <= 1e-3 * norm, name
        assert abs(found.double().sum().item() - total) <= 1e-3 * max(norm, abs(total)), name


def test_every_layer_matches_the_reference() -> None:
    fixture, model = network_fixture("d_64_resnet"), _network()
    found: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda module, inputs, output, *, name=name: found.__setitem__(name, output))
    with torch.no_grad():
        model(fixture.tensor("img"))
    compared = 0
    for layer in fixture.facts["layer_names"]:
        if layer not in found:  # the minibatch standard deviation is a function here
            assert layer == "b4.mbstd"
            continue
        key = f"layer__{layer.replace('.', '__')}"
        crop, std = fixture.tensor(f"{key}__crop"), fixture.io[f"{key}__std"].item()
        output = found[layer]
        assert list(output.shape) == fixture.io[f"{key}__shape"].tolist()
        part = output[: len(crop), :4, :8, :8] if output.ndim == 4 else output[: len(crop), : crop.shape[1]]
        assert absolute_error(part, crop) <= 1e-4 * std, layer
        assert abs(output.double().std().item() - std) <= 1e-4 * std, layer
        compared += 1
    assert compared == 16


def test_minibatch_std_on_numbers_done_by_hand() -> None:
    x = torch.zeros(4, 2, 1, 1)
    x[:, 0, 0, 0] = torch.tensor([1.0, 0, 3, 0])  # groups are strided: samples 0 and 2, 1 and 3
    y = minibatch_std(x, group_size=2, num_channels=1)
    assert y.shape == (4, 3, 1, 1) and torch.equal(y[:, :2], x)
    e = 1e-4  # the root of the stabilising 1e-8
    found = y[:, 2, 0, 0]  # mean of (1, e) and of (e, e)
    assert torch.allclose(found, torch.tensor([(1 + e) / 2, e, (1 + e) / 2, e]), atol=1e-6)
    each = minibatch_std(x, group_size=2, num_channels=2)
    assert torch.allclose(each[:, 2:, 0, 0], torch.tensor([[1, e], [e, e], [1, e], [e, e]]), atol=1e-6)
    whole = minibatch_std(x, group_size=0, num_channels=1)  # 0: the batch is one group
    expected = (torch.tensor([1.0, 0, 3, 0]).std(correction=0) + 1e-4) / 2
    assert torch.allclose(whole[:, 2], expected.expand(4, 1, 1), atol=1e-4)
    alone = minibatch_std(x[:1], group_size=4, num_channels=1)[:, 2]
    assert torch.allclose(alone, torch.full((1, 1, 1), e), atol=1e-9)


def test_minibatch_std_can_be_switched_off() -> None:
    model = Discriminator(img_resolution=16, channel_base=64, channel_max=8, epilogue_kwargs={"mbstd_num_channels": 0})
    images = torch.randn(5, 3, 16, 16)
    assert absolute_error(model(images)[:1], model(images[:1])) < 1e-6


def test_the_clamp_binds() -> None:
    fixture = network_fixture("d_64_resnet")
    with torch.no_grad():
        images = fixture.tensor("img")[:2]
        open_logits, clamped = (_network(conv_clamp=limit)(images) for limit in (None, 0.05))
    assert absolute_error(open_logits, clamped) > 1e-3


def test_bad_input_is_refused() -> None:
    for resolution in (4, 24, 0):
        with pytest.raises(ValueError, match="power of two from 8"):
            Discriminator(img_resolution=resolution)
    with pytest.raises(ValueError, match="batch of 6 does not divide into groups of 4"):
        minibatch_std(torch.zeros(6, 2, 4, 4), group_size=4, num_channels=1)
