"""EfficientNet-Lite0 with random weights, in the published layout."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

BLOCKS = [  # of lite0, written out: kernel, stride, expansion, channels
    (3, 1, 1, 16),
    (3, 2, 6, 24), (3, 1, 6, 24),
    (5, 2, 6, 40), (5, 1, 6, 40),
    (3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80),
    (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112),
    (5, 2, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192),
    (3, 1, 6, 320),
]  # fmt: skip


def random_weights() -> dict[str, Tensor]:
    """Of lite0 in the published layout, with the classifier that is not looked at."""
    stream = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def put(conv: str, norm: str, before: int, after: int, kernel: int) -> None:
        drawn = torch.randn(after, before, kernel, kernel, generator=stream)
        weights[f"{conv}.weight"] = drawn / (before * kernel**2) ** 0.5
        for part, least in (("weight", 0.5), ("bias", -0.2), ("running_mean", -0.3), ("running_var", 0.2)):
            weights[f"{norm}.{part}"] = least + 0.5 * torch.rand(after, generator=stream)
        weights[f"{norm}.num_batches_tracked"] = torch.tensor(0)

    put("_conv_stem", "_bn0", 3, 32, 3)
    before = 32
    for index, (kernel, _, expansion, after) in enumerate(BLOCKS):
        name, inside = f"_blocks.{index}", before * expansion
        if expansion > 1:
            put(f"{name}._expand_conv", f"{name}._bn0", before, inside, 1)
        put(f"{name}._depthwise_conv", f"{name}._bn1", 1, inside, kernel)
        put(f"{name}._project_conv", f"{name}._bn2", inside, after, 1)
        before = after
    put("_conv_head", "_bn1", 320, 8, 1)
    return weights | {"_fc.weight": torch.zeros(5, 8), "_fc.bias": torch.zeros(5)}


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "efficientnet-lite0-00000000.pth"
    torch.save(random_weights(), path)
    return path
