"""The built-in scorers: what the network reads, the statistics of pictures and of parts of a face."""

from __future__ import annotations

import pytest
import torch
from smooth_pictures import pictures

from directions import attributes, face_statistics, image_statistics
from directions.attributes import Scorer
from editkit.errors import UsageError
from editkit.networks.features import AGE_CENTRES, FaceAttributes


def attributes_of(points: list[list[float]]) -> FaceAttributes:
    return FaceAttributes(
        age_logits=torch.zeros(1, 6),
        gender_logit=torch.zeros(1),
        yaw=torch.zeros(1),
        landmarks=torch.tensor([points]),
    )


def test_age_is_the_mean_of_the_brackets() -> None:
    assert float(attributes_of([[0.0, 0.0]] * 5).age) == pytest.approx(sum(AGE_CENTRES) / 6)


def test_geometry_scores_follow_their_definitions() -> None:
    upright = attributes_of([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.4, 0.7], [0.6, 0.7]])
    assert float(attributes._roll(upright)) == pytest.approx(0.0, abs=1e-4)
    assert float(attributes._mouth_width(upright)) == pytest.approx(0.5, rel=1e-5)
    assert float(attributes._face_length(upright)) == pytest.approx(1.0, rel=1e-5)
    assert float(attributes._mouth_drop(upright)) == pytest.approx(0.5, rel=1e-5)
    # The same face a quarter turned counter-clockwise as seen: (x, y) -> (y, 1 - x).
    turned = attributes_of([[0.3, 0.7], [0.3, 0.3], [0.5, 0.5], [0.7, 0.6], [0.7, 0.4]])
    assert float(attributes._roll(turned)) == pytest.approx(90.0, abs=1e-3)
    assert float(attributes._mouth_width(turned)) == pytest.approx(0.5, rel=1e-5)
    assert float(attributes._face_length(turned)) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("name", sorted(attributes.built_in()))
def test_every_scorer_gives_one_number_a_picture(name: str) -> None:
    made = attributes.built_in()[name]()
    scores = made(pictures(3))
    assert made.name == name and made.unit and made.description
    assert scores.shape == (3,) and scores.dtype == torch.float32 and torch.isfinite(scores).all()


def test_image_statistics_mean_what_they_say() -> None:
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    grey = torch.zeros(1, 3, 8, 8)
    assert float(image_statistics.warmth()(red)) == 2.0 and float(image_statistics.warmth()(grey)) == 0.0
    assert float(image_statistics.saturation()(red)) == 2.0
    green, violet = grey.clone(), grey.clone()
    green[:, 1], violet[:, [0, 2]] = 0.5, 0.5
    tint = image_statistics.tint()
    assert [float(tint(one)) for one in (green, violet, grey)] == [-0.5, 0.5, 0.0]
    assert float(image_statistics.brightness()(grey + 0.5)) == pytest.approx(0.5)
    stripes = grey.clone()
    stripes[..., ::2] = 1.0
    assert float(image_statistics.contrast()(stripes)) == pytest.approx(0.504, abs=1e-3)
    assert float(image_statistics.detail()(stripes)) == pytest.approx(0.5)


def test_parts_of_an_aligned_face_are_compared() -> None:
    grey = torch.zeros(1, 3, 64, 64)

    def lit(left: float, top: float, right: float, bottom: float, *channels: int) -> torch.Tensor:
        made, (x, y, to_x, to_y) = grey.clone(), (round(64 * edge) for edge in (left, top, right, bottom))
        made[:, list(channels) or [0, 1, 2], y:to_y, x:to_x] = 0.5
        return made

    score = {name: make() for name, make in face_statistics.BUILT_IN.items()}
    assert all(float(one(grey)) == 0 and float(one(grey - 0.5)) == pytest.approx(0) for one in score.values())
    right, above, mouth = lit(0.5, 0, 1, 1), lit(0, 0, 1, 0.5), lit(0.3, 0.641, 0.7, 0.74)
    assert float(score["side_light"](right)) == pytest.approx(0.5) and float(score["side_light"](above)) == 0
    assert float(score["top_light"](above)) == pytest.approx(0.5) and float(score["top_light"](right)) == 0
    assert float(score["mouth_light"](mouth)) == pytest.approx(0.5, rel=1e-5)
    assert float(score["lip_redness"](lit(0.3, 0.641, 0.7, 0.74, 0))) > 0.4
    assert float(score["lip_redness"](mouth)) == pytest.approx(0, abs=1e-6)
    assert float(score["eye_shade"](lit(0, 0.37, 1, 0.7))) == pytest.approx(0.5, rel=1e-5)
    red_corners = lit(0, 0, 0.2, 0.2, 0)
    assert float(score["background_warmth"](red_corners)) == pytest.approx(0.25)
    assert float(score["background_warmth"](lit(0.25, 0.25, 0.75, 0.75, 0))) == pytest.approx(-0.5)


def test_a_nod_moves_the_nose_between_eyes_and_mouth() -> None:
    low = attributes_of([[0.3, 0.3], [0.7, 0.3], [0.5, 0.6], [0.4, 0.7], [0.6, 0.7]])
    high = attributes_of([[0.3, 0.3], [0.7, 0.3], [0.5, 0.4], [0.4, 0.7], [0.6, 0.7]])
    assert float(attributes._pitch(low)) == pytest.approx(0.75) and float(attributes._pitch(high)) == pytest.approx(
        0.25
    )


def test_sharpness_is_of_fine_luma_whatever_the_contrast() -> None:
    made, blurred = image_statistics.sharpness(), torch.nn.functional.avg_pool2d(pictures(4), 3, 1)
    assert (made(blurred) < made(pictures(4)[..., 1:-1, 1:-1])).all()
    assert torch.allclose(made(0.5 * pictures(4) + 0.1), made(pictures(4)), atol=1e-4)
    assert torch.isfinite(made(torch.zeros(1, 3, 8, 8))).all()


def test_background_compares_the_upper_corners_with_the_middle() -> None:
    picture = torch.zeros(1, 3, 64, 64)
    made = image_statistics.background()
    assert float(made(picture)) == 0 and float(made(picture + 0.3)) == pytest.approx(0, abs=1e-6)
    picture[..., :12, :12] = 1.0
    assert float(made(picture)) == pytest.approx(0.5)
    picture[..., 16:48, 16:48] = 1.0
    picture[..., 50:, :] = -1.0  # the lower corners do not count
    assert float(made(picture)) == pytest.approx(-0.5)


def test_labels_by_name_and_what_is_refused() -> None:
    scorers = [attributes.scorer("age"), image_statistics.warmth()]
    labels = attributes.label(pictures(2), scorers)
    assert list(labels) == ["age", "warmth"] and labels["age"].dtype == torch.float64
    with pytest.raises(UsageError, match="No scorer is called 'charm'; there are brightness"):
        attributes.scorer("charm")
    assert attributes.scorer("warmth").name == "warmth"
    with pytest.raises(UsageError, match="different names"):
        attributes.label(pictures(2), [scorers[0], scorers[0]])
    with pytest.raises(UsageError, match=r"needs images \[N, 3, R, R\]"):
        scorers[0](torch.zeros(3, 64, 64))
    with pytest.raises(UsageError, match="one number an image"):
        Scorer(name="odd", unit="none", measure=lambda images: images)(pictures(2))
