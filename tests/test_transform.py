"""Transforms go forward, compose and go back; the signs are proven on a picture."""

import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from editkit.errors import UsageError
from editkit.networks import build_network
from editkit.seeds import z_from_seeds
from editkit.transform import Transform

number = st.floats(-2, 2, allow_nan=False)
transforms = st.builds(
    lambda x, y, angle, factor: Transform.translate(x, y) @ Transform.rotate(angle) @ Transform.scale(factor),
    number, number, st.floats(-360, 360), st.floats(0.05, 20),
)  # fmt: skip


def warp(image, transform):
    """Move a picture [1, C, H, W]: an output pixel takes what lies where the inverse sends it. Width is 1."""
    matrix = transform.inverse().matrix[:, :2].to(image.dtype).clone()
    matrix[:, :, 2] *= 2  # grid_sample's picture is 2 wide
    grid = F.affine_grid(matrix, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


def dot(row, column, size=16):
    image = torch.zeros(1, 1, size, size, dtype=torch.float64)
    image[0, 0, row, column] = 1
    return image


def brightest(image):
    return divmod(int(image.flatten().argmax()), image.shape[-1])


def close(a, b, tolerance=1e-9):
    return torch.allclose(a.matrix, b.matrix, rtol=tolerance, atol=tolerance)


def test_moving_by_a_quarter_moves_content_right_by_a_quarter_of_the_width():
    moved = warp(dot(8, 4), Transform.translate(0.25, 0.0))
    assert torch.allclose(moved, dot(8, 8), atol=1e-12)
    assert torch.allclose(warp(dot(8, 4), Transform.translate(0.0, 0.25)), dot(12, 4), atol=1e-12)  # down


def test_rotating_turns_content_counter_clockwise_as_seen():
    # A dot at the right, at the height of the centre, goes up by a quarter turn.
    assert torch.allclose(
        Transform.rotate(90).apply(torch.tensor([[0.3, 0.0]])), torch.tensor([[0.0, -0.3]]), atol=1e-7
    )
    assert brightest(warp(dot(7, 14), Transform.rotate(90))) == (1, 7)
    row, column = brightest(warp(dot(7, 14), Transform.rotate(30)))
    assert row < 7 and column > 8


def test_scaling_grows_content():
    small, large = dot(8, 8), warp(dot(8, 8), Transform.scale(2.0))
    assert large.sum() == pytest.approx(4 * small.sum().item(), rel=0.01)
    assert Transform.scale(2.0).apply(torch.tensor([[0.1, 0.2]])).tolist() == [[pytest.approx([0.2, 0.4])]]


def test_composition_applies_the_right_one_first():
    point = torch.tensor([[0.1, 0.0]], dtype=torch.float64)
    both = Transform.translate(1.0, 0.0) @ Transform.rotate(90)
    assert torch.allclose(both.apply(point), torch.tensor([[1.0, -0.1]], dtype=torch.float64))
    assert torch.allclose(both.apply(point), Transform.translate(1.0, 0.0).apply(Transform.rotate(90).apply(point)))


@given(transforms)
@settings(max_examples=50, deadline=None)
def test_inverse_goes_back(transform):
    assert close(transform @ transform.inverse(), Transform.identity())
    assert close(transform.inverse() @ transform, Transform.identity())
    assert close(transform.inverse().inverse(), transform)


@given(transforms, transforms, transforms)
@settings(max_examples=30, deadline=None)
def test_composition_is_associative_and_inverts_backwards(a, b, c):
    assert close((a @ b) @ c, a @ (b @ c))
    assert close((a @ b).inverse(), b.inverse() @ a.inverse(), 1e-6)


@given(transforms)
@settings(max_examples=20, deadline=None)
def test_json_round_trip_is_exact(transform):
    again = Transform.from_list(json.loads(json.dumps(transform.tolist())))
    assert torch.equal(again.matrix, transform.matrix)


def test_one_matrix_a_sample():
    many = Transform.translate([0.1, 0.2, 0.3], 0.0) @ Transform.rotate(10)
    assert len(many) == 3 and many.matrix.shape == (3, 3, 3)
    assert close(many[1], Transform.translate(0.2, 0.0) @ Transform.rotate(10))
    assert close(many[-1], many[2:]) and len(many[:2]) == 2
    assert close(many @ many.inverse(), Transform.identity().expand(3))
    points = torch.zeros(3, 1, 2, dtype=torch.float64)
    assert many.apply(points)[:, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])
    with pytest.raises(IndexError):
        many[3]
    with pytest.raises(UsageError, match="3 and 2"):
        many @ Transform.scale([1.0, 2.0])
    with pytest.raises(UsageError, match="3 samples"):
        many.expand(5)


def test_gradients_pass():
    x = torch.tensor([0.1], dtype=torch.float64, requires_grad=True)
    (Transform.rotate(20) @ Transform.translate(x, 0.0)).inverse().matrix.sum().backward()
    assert x.grad is not None and x.grad.abs() > 0


def test_a_single_matrix_gains_the_sample_axis():
    assert Transform(matrix=torch.eye(3)).matrix.shape == (1, 3, 3)
    assert Transform.rotate(1).matrix.dtype == torch.float64


@pytest.mark.parametrize(
    "make",
    [
        lambda: Transform(matrix=torch.eye(2)),
        lambda: Transform(matrix=torch.eye(3).int()),
        lambda: Transform(matrix=[[1, 0, 0]]),
        lambda: Transform.scale(0.0),
        lambda: Transform.scale(-1.0),
        lambda: Transform.rotate(float("nan")),
        lambda: Transform.translate("a", 0.0),
        lambda: Transform.translate([1.0, 2.0], [1.0, 2.0, 3.0]),
        lambda: Transform(matrix=torch.diag(torch.tensor([1.0, 0.0, 1.0]))).inverse(),
        lambda: Transform.from_list([[1, 0, 0], [0, 1, 0], [0, 0, 2]]),
        lambda: Transform.from_list([[1, 0, 0], [0, 0, 0], [0, 0, 1]]),
        lambda: Transform.from_list([[1, 0, "x"]]),
        lambda: Transform.from_list("no"),
        lambda: Transform.from_list([[1, 0, float("inf")], [0, 1, 0], [0, 0, 1]]),
    ],
)
def test_bad_input(make):
    with pytest.raises(UsageError):
        make()


@pytest.mark.parametrize(
    "transform", [Transform.translate(0.125, 0.0), Transform.translate(0.0, -0.25), Transform.rotate(30)]
)
def test_stylegan3_moves_its_content_the_way_a_transform_says(transform):
    """The alias-free generator itself as the witness: its inverse goes in, and the picture moves forward."""
    torch.manual_seed(0)
    arguments = {"z_dim": 8, "w_dim": 8, "c_dim": 0, "img_resolution": 32, "img_channels": 3}
    small = {"channel_base": 512, "channel_max": 16, "conv_kernel": 1, "use_radial_filters": True}
    network = build_network("stylegan3", {**arguments, **small}).eval()
    with torch.no_grad():
        ws = network.mapping(z_from_seeds([0], 8), None)
        still = network.synthesis(ws, transform=Transform.identity().matrix)
        moved = network.synthesis(ws, transform=transform.inverse().matrix)
    inner = (..., slice(10, 22), slice(10, 22))
    right = (moved - warp(still, transform))[inner].square().mean()
    wrong = (moved - warp(still, transform.inverse()))[inner].square().mean()
    assert right < 1e-3 * moved[inner].var()
    assert wrong > 100 * right
