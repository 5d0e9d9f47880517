"""Placements in motion: parts are interpolated, not matrices, and the shortest way round."""

import pytest
import torch
from linear_generator import LinearGenerator

from editkit.errors import UsageError
from editkit.motion import Motion, compose, decompose, transform_curve
from editkit.paths import timing
from editkit.rendered_path import render_path
from editkit.sampling import sample_w
from editkit.transform import Transform


def stacked(*transforms: Transform) -> Transform:
    return Transform(matrix=torch.cat([one.matrix for one in transforms]))


def between(*transforms: Transform, frames: int = 5, **options: bool) -> list[Transform]:
    times = timing(len(transforms), frames, loop=options.pop("loop", False))
    curve = transform_curve(stacked(*transforms), times, **options)
    return [curve(*times.position(frame)) for frame in range(frames)]


def angle(transform: Transform) -> float:
    return float(decompose(transform)[0, 0])


def test_parts_and_back():
    shear = torch.tensor([[1.0, 0.4, 0.1], [0.0, 0.8, -0.2], [0.0, 0.0, 1.0]], dtype=torch.float64)
    for placed in (
        Transform.translate(0.2, -0.1) @ Transform.rotate(170) @ Transform.scale(1.7),
        Transform(matrix=shear),
    ):
        assert torch.allclose(compose(decompose(placed)[0]).matrix, placed.matrix, atol=1e-12)


def test_halfway_is_half_of_every_part():
    end = Transform.translate(0.2, -0.4) @ Transform.rotate(80) @ Transform.scale(4.0)
    middle = between(Transform.identity(), end)[2]
    expected = Transform.translate(0.1, -0.2) @ Transform.rotate(40) @ Transform.scale(2.0)
    assert torch.allclose(middle.matrix, expected.matrix, atol=1e-12)


@pytest.mark.parametrize("smooth", [False, True])
def test_the_shortest_way_round(smooth):
    found = [angle(one) for one in between(Transform.rotate(170), Transform.rotate(-170), smooth=smooth)]
    assert [round(value % 360, 6) for value in found] == [170, 175, 180, 185, 190]


@pytest.mark.parametrize("smooth", [False, True])
def test_thirds_of_a_turn_make_a_turn_in_a_loop(smooth):
    thirds = [Transform.rotate(degrees) for degrees in (0.0, 120.0, 240.0)]
    found = between(*thirds, frames=12, loop=True, smooth=smooth)
    assert [round(angle(one) % 360, 6) % 360 for one in found] == [30 * i for i in range(12)]


def test_keyframes_are_met_to_the_bit():
    keyframes = [Transform.rotate(10) @ Transform.scale(1.3), Transform.translate(0.3, 0), Transform.rotate(-60)]
    for smooth in (False, True):
        found = between(*keyframes, frames=9, smooth=smooth)
        assert all(torch.equal(found[4 * i].matrix, keyframes[i].matrix) for i in range(3))


def test_a_mirror_is_refused():
    mirror = Transform(matrix=torch.diag(torch.tensor([-1.0, 1.0, 1.0])))
    with pytest.raises(UsageError, match="mirrors"):
        between(Transform.identity(), mirror)


def test_motion_begins_and_ends():
    motion = Motion(shift=(0.2, 0.1), turn=720, zoom=2)
    assert torch.equal(motion.at(0.0).matrix, Transform.identity().matrix)
    assert torch.allclose(motion.at(1.0).matrix, (Transform.translate(0.2, 0.1) @ Transform.scale(2)).matrix)
    there = Motion(shift=(0.2, 0.1), zoom=2)
    assert torch.allclose(there.at(0.5, loop=True).matrix, there.at(1.0).matrix)
    assert torch.allclose(there.at(1.0, loop=True).matrix, Transform.identity().matrix)


def test_a_circle_is_one():
    places = torch.stack([Motion(circle=0.1).at(i / 8).matrix[0, :2, 2] for i in range(8)])
    assert torch.allclose(places.norm(dim=1), torch.full((8,), 0.1, dtype=torch.float64))
    assert torch.allclose(places[2], torch.tensor([0.0, -0.1], dtype=torch.float64), atol=1e-12)  # up


@pytest.mark.parametrize("options", [{"zoom": 0}, {"zoom": -1}, {"turn": float("nan")}, {"shift": (0, float("inf"))}])
def test_bad_motion(options):
    with pytest.raises(UsageError):
        Motion(**options)


def test_motion_is_put_on_top_of_placements():
    G = LinearGenerator()
    path = render_path(
        G, sample_w(G, [0, 1]), frames=5, transforms=Transform.translate(0.25, 0.0), motion=Motion(shift=(0.0, 0.5))
    )
    assert torch.allclose(path.transform(4).matrix, Transform.translate(0.25, 0.5).matrix)
    assert torch.allclose(path.transform(2).matrix, Transform.translate(0.25, 0.25).matrix)
