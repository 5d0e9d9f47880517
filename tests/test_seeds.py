"""The same seed gives the same code, in any batch."""

import numpy as np
import pytest
import torch

from editkit.errors import UsageError
from editkit.seeds import normal, z_from_seeds


def test_rows_do_not_depend_on_the_batch():
    together = z_from_seeds([5, 0, 2**32 - 1], 16)
    assert together.shape == (3, 16) and together.dtype == torch.float32 and together.device.type == "cpu"
    for row, seed in zip(together, [5, 0, 2**32 - 1], strict=True):
        assert torch.equal(row, z_from_seeds([seed], 16)[0])
    assert not torch.equal(together[0], together[1])


def test_odd_counts_leave_nothing_behind():
    # The stream makes normals in pairs; the second one must not leak into the next row.
    assert torch.equal(z_from_seeds([1, 2], 3)[1], normal(2, (3,)))


def test_global_state_is_neither_read_nor_changed():
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = z_from_seeds([3], 8)
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()
    torch.manual_seed(2)
    assert torch.equal(first, z_from_seeds([3], 8))


def test_the_stream_is_the_one_official_scripts_draw_from():
    # First values of RandomState(85).randn, which gen_images.py --seeds=85 feeds to the mapping network.
    assert torch.equal(z_from_seeds([85], 512)[0], torch.from_numpy(np.random.RandomState(85).randn(1, 512)).float()[0])
    assert normal(0, (2, 2)).flatten().tolist() == pytest.approx([1.7640524, 0.4001572, 0.9787380, 2.2408932])


def test_numpy_integers_and_ranges_are_seeds():
    assert torch.equal(z_from_seeds(np.arange(2), 4), z_from_seeds(range(2), 4))


@pytest.mark.parametrize("seeds", [[], 7, "12", [-1], [2**32], [1.5], [None]])
def test_bad_seeds(seeds):
    with pytest.raises(UsageError, match="seed"):
        z_from_seeds(seeds, 4)
