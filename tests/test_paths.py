"""Paths meet every keyframe exactly, close without a break, and refuse what makes no path."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from linear_generator import LinearGenerator

from editkit.easing import EASINGS, eased
from editkit.errors import GeneratorMismatchError, LatentError, UsageError
from editkit.generator import random_generator
from editkit.labels import label_tensor
from editkit.latent import Latent
from editkit.motion import Motion
from editkit.paths import Linear, Slerp, Spline, timing
from editkit.rendered_path import render_path
from editkit.rendering import render
from editkit.sampling import sample_w, sample_z
from editkit.transform import Transform

G = LinearGenerator()
W = sample_w(G, [0, 1, 2, 3])
Z = sample_z(G, [0, 1, 2, 3])
CURVES = [Linear(), Spline()]


def codes(path) -> torch.Tensor:
    return torch.cat([path.latent(i).tensor for i in range(len(path))])


# Timing


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(("keyframes", "frames"), [(2, 2), (2, 7), (3, 3), (4, 96), (7, 31)])
def test_every_keyframe_is_a_frame_and_none_is_lost(keyframes, frames, loop):
    times = timing(keyframes, frames, loop=loop)
    assert times.frames == frames and times.keyframes == keyframes
    assert max(times.steps) - min(times.steps) <= 1
    met = [segment for segment, t in map(times.position, range(frames)) if t == 0]
    assert met == list(range(keyframes))


def test_durations():
    assert timing(3, 31, durations=[1, 2]).steps == (10, 20)
    assert timing(2, 12, durations=[3, 1], loop=True).steps == (9, 3)
    assert timing(4, 4, durations=[1, 1000, 1000]).steps == (1, 1, 1)  # each keyframe keeps its frame
    assert timing(4, 10, durations=[1, 1000, 1000]).steps == (1, 4, 4)


@pytest.mark.parametrize(
    ("keyframes", "frames", "options", "message"),
    [
        (1, 5, {}, "at least 2, got 1"),
        (3, 2, {}, "2 frames are too few for 3 keyframes"),
        (3, 9, {"durations": [1]}, "a path of 3 keyframes has 2 durations, got 1"),
        (3, 9, {"durations": [1, 1], "loop": True}, "a loop of 3 keyframes has 3 durations"),
        (3, 9, {"durations": [1, 0]}, "above 0"),
        (3, 9, {"durations": [1, math.nan]}, "above 0"),
        (3, 9.0, {}, "9.0 frames"),
    ],
)
def test_bad_timing(keyframes, frames, options, message):
    with pytest.raises(UsageError, match=message):
        timing(keyframes, frames, **options)


# Easing


@pytest.mark.parametrize("name", EASINGS)
def test_easings_keep_their_ends_and_never_go_back(name):
    values = [eased(EASINGS[name], i / 50) for i in range(51)]
    assert values[0] == 0 and values[-1] == 1
    assert all(a < b for a, b in itertools.pairwise(values))
    assert (values[1] < 0.01) == (name in ("in", "in-out")) and (values[-2] > 0.99) == (name in ("out", "in-out"))


def test_easings_that_are_none():
    with pytest.raises(UsageError, match="takes 0 to 0"):
        eased(lambda t: t + 1, 0.0)
    with pytest.raises(UsageError, match="finite"):
        eased(lambda t: math.nan, 0.5)


# Curves


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("curve", CURVES)
def test_keyframes_are_met_to_the_bit(curve, loop):
    path = render_path(G, W, frames=21, curve=curve, loop=loop, durations=[2, 1, 3, 1][: 3 + loop])
    times = timing(4, 21, durations=[2, 1, 3, 1][: 3 + loop], loop=loop)
    for frame in range(21):
        segment, t = times.position(frame)
        if t == 0:
            assert torch.equal(path.latent(frame).tensor, W[segment].tensor)
    assert path.latent(0).space == "w" and path.transform(0) is None


def test_a_line_is_straight_and_even():
    found = codes(render_path(G, W[:2], frames=5))
    assert torch.allclose(found[1:] - found[:-1], (found[-1] - found[0]).expand(4, -1, -1) / 4, atol=1e-6)


def test_a_spline_of_a_parabola_is_that_parabola():
    """The tangents are those of the parabola through three points, also with uneven spacing and at the ends."""
    times = timing(3, 31, durations=[1, 2])
    at = torch.tensor([0.0, 10.0, 30.0], dtype=torch.float64)
    points = Latent(space="z", codes=torch.stack([at, at**2 / 30], 1), generator="g")
    curve = Spline().through(points, times)
    for frame in range(31):
        expected = torch.tensor([[frame, frame**2 / 30]], dtype=torch.float64)
        assert torch.allclose(curve(*times.position(frame)).tensor, expected, atol=1e-9)


@pytest.mark.parametrize("curve", CURVES)
def test_a_loop_has_no_seam(curve):
    """Rotating the keyframes of a loop rotates its frames; and its last step is no longer than the others."""
    found = codes(render_path(G, W, frames=40, loop=True, curve=curve)).double()
    turned = codes(render_path(G, W[[1, 2, 3, 0]], frames=40, loop=True, curve=curve)).double()
    assert torch.allclose(found.roll(-10, 0), turned, atol=1e-5)
    steps = (found.roll(-1, 0) - found).flatten(1).norm(dim=1)
    assert float(steps[-1]) < 1.5 * float(steps.max()) and float(steps.min()) > 0
    if isinstance(curve, Spline):  # no corner either: steps change direction little by little
        bends = (found.roll(-1, 0) - 2 * found + found.roll(1, 0)).flatten(1).norm(dim=1)
        assert float(bends.max()) < 0.4 * float(steps.max())
        straight = codes(render_path(G, W, frames=40, loop=True)).double()
        corner = (straight.roll(-1, 0) - 2 * straight + straight.roll(1, 0)).flatten(1).norm(dim=1)
        assert float(corner.max()) > 0.8 * float(steps.min())  # what the check would see


def test_easing_slows_at_keyframes():
    plain, slow = (codes(render_path(G, W[:2], frames=11, easing=EASINGS[name])) for name in ("linear", "in-out"))
    assert torch.equal(plain[0], slow[0]) and torch.equal(plain[-1], slow[-1])
    assert float((slow[1] - slow[0]).norm()) < 0.2 * float((plain[1] - plain[0]).norm())


def test_z_goes_round_and_is_mapped():
    path = render_path(G, Z[:2], frames=9, truncation_psi=0.5)
    middle = G.map(Z[0].slerp(Z[1], 0.5).tensor, truncation_psi=0.5)
    assert path.latent(4).space == "w" and torch.allclose(path.latent(4).tensor, middle.tensor, atol=1e-6)
    straight = render_path(G, Z[:2], frames=9, curve=Linear(), truncation_psi=0.5)
    assert not torch.allclose(straight.latent(4).tensor, middle.tensor, atol=1e-3)
    with pytest.raises(LatentError, match="in z is needed"):
        render_path(G, W, frames=9, curve=Slerp())


def test_w_with_w_plus_gives_w_plus():
    assert render_path(G, [W[0], W[1].as_w_plus()], frames=3).latent(0).space == "w+"


def test_styles_take_the_path_too():
    stylegan3 = random_generator(resolution=16)
    styles = stylegan3.styles(sample_w(stylegan3, [0, 1]))
    path = render_path(stylegan3, styles, frames=3, curve=Spline())
    assert path.latent(1).space == "s"
    name = next(iter(styles.styles))
    assert torch.allclose(path.latent(1).styles[name][0], styles.styles[name].mean(0), atol=1e-5)


def test_a_latent_and_its_edit_in_styles_go_in_styles():
    stylegan3 = random_generator(resolution=16)
    w = sample_w(stylegan3, [0])
    styles = stylegan3.styles(w)
    name = list(styles.styles)[-1]
    edited = replace(styles, codes={**styles.styles, name: styles.styles[name] + 1})
    for pair in ([w, edited], [w.as_w_plus(), edited]):
        path = render_path(stylegan3, pair, frames=3)
        assert [path.latent(frame).space for frame in range(3)] == ["s"] * 3
        assert torch.allclose(path.latent(1).styles[name], styles.styles[name] + 0.5, atol=1e-5)
        assert torch.allclose(next(iter(path)), render(stylegan3, styles)[0], atol=1e-6)
    with pytest.raises(LatentError):
        render_path(stylegan3, [sample_z(stylegan3, [0]), edited], frames=3)


def test_labels_go_with_z():
    conditional = random_generator(c_dim=2, resolution=16)
    z = sample_z(conditional, [0, 1])
    label = label_tensor(conditional.spec, [0, 1], count=2)
    path = render_path(conditional, z, frames=3, label=label)
    half = conditional.map(z[0].slerp(z[1], 0.5).tensor, label=torch.tensor([[0.5, 0.5]]))
    assert torch.allclose(path.latent(1).tensor, half.tensor, atol=1e-5)
    assert torch.equal(path.latent(2).tensor, conditional.map(z[1].tensor, label=label[1:]).tensor)
    with pytest.raises(LatentError, match="belongs to latents in z"):
        render_path(conditional, sample_w(conditional, [0, 1]), frames=3, label=label)
    with pytest.raises(UsageError, match="labels are"):
        render_path(conditional, z, frames=3, label=torch.eye(3, 2))


# Rendering


def test_frames_are_rendered_as_they_are_asked_for():
    lazy, steps = LinearGenerator(), []
    path = render_path(lazy, W, frames=10, batch=4, on_progress=lambda *step: steps.append(step))
    assert len(path) == 10 and lazy.batches == []
    frames = iter(path)
    first = next(frames)
    assert lazy.batches == [4] and first.shape == (3, 8, 8) and first.dtype == torch.float32
    rest = list(frames)
    assert lazy.batches == [4, 4, 2] and len(rest) == 9 and steps == [(4, 10), (8, 10), (10, 10)]
    assert torch.allclose(rest[-1], G.synthesize(W[3])[0], atol=1e-6)
    assert len(list(path)) == 10  # again


def test_placements_follow():
    moves = [Transform.translate(0.0, 0.0), None, Transform.translate(0.5, 0.0)]
    path = render_path(G, W[0], frames=5, transforms=moves)
    still = G.synthesize(W[0])[0]
    shifts = (0, 0, 0, 2, 4)
    assert all(torch.allclose(a, still.roll(n, 2), atol=1e-6) for a, n in zip(path, shifts, strict=True))


@pytest.mark.parametrize(
    ("latents", "options", "error", "message"),
    [
        ([], {}, UsageError, "at least one latent"),
        (W[0], {}, UsageError, "no length"),
        ([W[0], W[0]], {}, UsageError, "no length"),
        ([W[0], W[0]], {"motion": Motion()}, UsageError, "no length"),
        (W, {"frames": 3}, UsageError, "3 frames are too few for 4 keyframes"),
        (W, {"transforms": Transform.rotate([1.0, 2.0])}, UsageError, "2 transforms do not go with 4 keyframes"),
        (W, {"transforms": []}, UsageError, "transforms is empty"),
        (W, {"batch": 0}, UsageError, "batch is at least 1"),
        (W[0], {"frames": 1, "motion": Motion(turn=9)}, UsageError, "at least 2 frames"),
        (W, {"loop": True, "motion": Motion(turn=90)}, UsageError, "multiple of 360"),
        ([W[0], Z[1]], {}, LatentError, "do not go together"),
        ([W[0], sample_w(LinearGenerator(name="other"), [1])], {}, GeneratorMismatchError, "different generators"),
        (sample_w(LinearGenerator(name="other"), [0, 1]), {}, GeneratorMismatchError, "cannot be used with"),
    ],
)  # fmt: skip
def test_no_path(latents, options, error, message):
    with pytest.raises(error, match=message):
        render_path(G, latents, **{"frames": 9, **options})
