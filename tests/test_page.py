"""The page's own small parts: options, undo, placements, recipes, sliders, toasts. No server, no browser."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from page_clock import Clock
from project_fixtures import G, checkpoint, photo, warmth

import projector
from editkit.direction import Direction
from editkit.edits import Edit, Recipe
from editkit.errors import PhotoError, UsageError
from editkit.generator import NetworkGenerator
from editkit.page import api, grouping, methods, parts, toasts
from editkit.page.options import Options, read_auth, steps_at_first
from editkit.page.settings import DEPTH, History, Settings, placed_by
from editkit.transform import Transform


def test_options_are_checked() -> None:
    assert Options().alone and Options().keeps
    assert not Options(share=True).keeps
    assert not Options(host="0.0.0.0").keeps
    assert Options(host="0.0.0.0", auth=(("me", "secret"),)).keeps
    assert not Options(auth=(("me", "secret"),)).alone
    behind = Options(root_path="/editkit")
    assert behind.on_loopback and not behind.alone and not behind.keeps, "the proxy brings anybody"
    assert Options(root_path="/editkit", auth=(("me", "secret"),)).keeps
    assert not Options(library=False).keeps
    assert Options(host="::1").on_loopback and Options(host="localhost").on_loopback
    for bad in ({"port": 70000}, {"root_path": "editkit"}, {"max_upload_mb": 0}, {"steps": 0}):
        with pytest.raises(UsageError):
            Options(**bad)


def test_users_come_from_words_and_files(tmp_path: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("ann:1\n\nbob:2:3\n")
    assert read_auth(["me:secret", f"@{users}"]) == (("me", "secret"), ("ann", "1"), ("bob", "2:3"))
    assert read_auth(None) == ()
    for bad in (["me"], ["me:"], [":x"], ["me:1", "me:2"], [f"@{tmp_path / 'none'}"]):
        with pytest.raises(UsageError):
            read_auth(bad)


def test_steps_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_PAGE_STEPS", "7")
    assert steps_at_first() == 7
    monkeypatch.setenv("EDITKIT_PAGE_STEPS", "many")
    with pytest.raises(UsageError, match="EDITKIT_PAGE_STEPS"):
        steps_at_first()


def test_undo_and_redo() -> None:
    history = History()
    assert not history.can_undo and not history.can_redo
    one, two = Settings(strengths={"yaw": 1.0}), Settings(strengths={"yaw": 1.0}, turn=20.0)
    history.add(one)
    history.add(two)
    assert history.undo() == one and history.undo() == Settings() and history.undo() == Settings()
    assert history.redo() == one and history.can_redo
    history.add(Settings(zoom=2.0))
    assert not history.can_redo and history.undo() == one


def test_moves_of_one_slider_are_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = Clock()
    monkeypatch.setattr(time, "monotonic", moment)
    history = History()
    for strength in (0.1, 0.2, 0.3):
        moment.now += 0.1
        history.add(Settings(strengths={"yaw": strength}))
    assert history.now.strengths == {"yaw": 0.3}
    assert history.undo() == Settings()
    history.redo()
    moment.now += 60
    history.add(Settings(strengths={"yaw": 0.9}))
    assert history.undo().strengths == {"yaw": 0.3}


def test_history_has_an_end() -> None:
    history = History()
    for turn in range(DEPTH + 50):
        history.add(Settings(turn=float(turn + 1)), apart=True)
    steps = 0
    while history.can_undo:
        history.undo()
        steps += 1
    assert steps <= DEPTH


def test_settings_become_a_recipe(G: NetworkGenerator, warmth: Direction) -> None:
    settings = Settings(strengths={"warmth": 2.0, "gone": 1.0}, x=0.1, rows=(2, 4))
    recipe = settings.recipe({"warmth": warmth})
    assert [(edit.name, edit.strength, edit.layers) for edit in recipe.edits] == [("warmth", 2.0, (2, 3, 4))]
    assert recipe.transform is not None and recipe.transform.apply(torch.zeros(1, 2))[0, 0].tolist() == pytest.approx(
        [0.1, 0.0]
    )
    assert Settings().placement is None and not Settings().recipe({"warmth": warmth}).edits


@pytest.mark.parametrize(
    "placed",
    [{"x": 0.1, "y": -0.05, "turn": 20.0, "zoom": 1.25}, {"turn": -135.0}, {"turn": 180.0}, {"zoom": 0.5}, {"x": -0.4}],
)
def test_a_placement_becomes_sliders_again(placed: dict[str, float]) -> None:
    wanted = Settings(**placed)
    assert wanted.placement is not None
    found = placed_by(Transform.from_list(wanted.placement.tolist()))
    assert found is not None and Settings(**found) == wanted


def test_a_placement_that_sliders_cannot_make_is_none_of_theirs() -> None:
    assert placed_by(None) == {} and Settings(**(placed_by(Transform.identity()) or {"x": 9.0})) == Settings()
    sheared = Transform.from_list([[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mirrored = Transform.from_list([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    far = Transform.translate(0.5, 0.0)
    for other in (sheared, mirrored, far, Transform.scale(2.5), Transform.rotate([10.0, 20.0])):
        assert placed_by(other) is None


def test_a_batch_keeps_the_limit_of_pixels(photo: Path) -> None:
    from editkit.page.batch_tab import Upload

    with pytest.raises(PhotoError, match="pixels"):
        Upload(path=photo, name="x", max_pixels=10).of_face(1, 2).read()


def test_a_click_on_what_the_server_knows_no_more_says_what_to_do() -> None:
    assert parts.clicked(["a", "b"], 1) == "b"
    for shown in (None, [], ["a"]):
        with pytest.raises(UsageError, match="load the page again"):
            parts.clicked(shown, 1)


def test_methods_suit_the_generator(G: NetworkGenerator) -> None:
    """A model of one's own has no encoder; a visitor who chooses nothing is served all the same."""
    from editkit.perceptual import Bundled
    from projector.methods import NAMES

    assert methods.titles()[0] == methods.AUTO and len(set(methods.titles())) == len(NAMES) + 1
    made = {title: methods.make(title, G, steps=7) for title in methods.titles()}
    assert made[methods.AUTO] == projector.Auto(steps=7)
    assert isinstance(made[methods.AUTO].chosen(G, perceptual=Bundled())[0], projector.Refine)
    assert {type(one) for one in made.values()} >= {projector.Encode, projector.EncodeThenOptimise, projector.Pivotal}
    assert isinstance(made[methods.REFINE], projector.Refine)
    assert methods.make("no such", G, steps=7) == made[methods.AUTO]


def test_directions_are_grouped(warmth: Direction) -> None:
    named = {name: replace(warmth, name=name) for name in ("smile_width", "yaw", "age", "warmth", "component-3")}
    groups = grouping.grouped(named.values())
    assert [one.name for one in groups[grouping.FACE]] == ["smile_width", "yaw"]
    assert [one.name for one in groups[grouping.LIGHT]] == ["warmth"]
    assert [one.name for one in groups[grouping.PERSON]] == ["age"]
    assert [one.name for one in groups[grouping.OTHER]] == ["component-3"]
    slider = groups[grouping.FACE][0]
    assert (slider.title, slider.low, slider.high) == ("Smile width", -2.0, 3.0) and 0 < slider.step <= 0.2
    mouth = replace(warmth, name="mouth_light")
    assert grouping.group_of(mouth) == grouping.FACE and grouping.slider_of(mouth).title == "Teeth (mouth light)"
    told = {"yaw-2": "Head turn (yaw) 2", "yaws": "Yaws", "top_light": "Top light", "mouth_lights": "Mouth lights"}
    assert {name: grouping.title_of(name) for name in told} == told


@pytest.mark.parametrize("strength", [(-2.31, 2.31), (-2.657, 2.66), (0.0, 3.0), (-0.0317, 0.04), (-170.3, 90.0)])
def test_every_slider_has_zero_among_its_steps(warmth: Direction, strength: tuple[float, float]) -> None:
    slider = grouping.slider_of(replace(warmth, strength=strength))
    steps = -slider.low / slider.step
    assert abs(steps - round(steps)) < 1e-6 and slider.low <= 0 < slider.high
    assert strength[0] <= slider.low and slider.high <= strength[1], "no further than what looks right"


def test_sliders_of_a_photo_go_less_far_unless_a_recipe_does(warmth: Direction) -> None:
    yaw, slight = replace(warmth, strength=(-2.64, 2.68)), replace(warmth, strength=(-0.4, 1.2))
    assert grouping.range_of(yaw) == (-2.64, 2.68)
    assert grouping.range_of(yaw, photo=True) == pytest.approx((-1.584, 1.608))
    assert grouping.range_of(slight, photo=True) == (-0.4, 1.0), "1 unit at least, but no more than there is"
    whole, narrow = grouping.slider_of(yaw), grouping.slider_of(yaw, photo=True)
    assert whole.low < narrow.low <= -1 < 0 < 1 <= narrow.high < whole.high
    assert (
        grouping.slider_of(yaw, photo=True, at=2.2) == whole and grouping.slider_of(yaw, photo=True, at=1.0) == narrow
    )
    (found,) = grouping.grouped([yaw], photo=True, at={"warmth": -2.0})[grouping.LIGHT]
    assert found == whole


def test_programs_are_told_the_range(warmth: Direction) -> None:
    known = {"warmth": replace(warmth, strength=(-2.0, 3.0))}
    assert api.recipe_of(known, {"warmth": 3.0}).edits[0].strength == 3.0
    for far in (50, -2.01, float("nan")):
        with pytest.raises(UsageError, match=r"warmth goes from -2 to \+3, got"):
            api.recipe_of(known, {"warmth": far})


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/srv/secret/place/me.jpg is not a picture; give a JPEG", "me.jpg is not a picture; give a JPEG"),
        (r"C:\Users\me\AppData\x.png is empty", "x.png is empty"),
        ("<b>x</b> and w/w+ stay", "&lt;b&gt;x&lt;/b&gt; and w/w+ stay"),
        ("see https://example.org/a/b for more", "see https://example.org/a/b for more"),
    ],
)
def test_toasts_hide_folders_and_markup(message: str, shown: str) -> None:
    assert toasts.said(PhotoError(message)) == shown


def test_an_unforeseen_error_says_nothing_of_its_content(caplog: pytest.LogCaptureFixture) -> None:
    import gradio as gr

    @toasts.toasted
    def handler() -> None:
        raise ValueError("/srv/secret/key")

    with pytest.raises(gr.Error) as caught:
        handler()
    assert "secret" not in caught.value.message and "went wrong here (ValueError)" in caught.value.message
    assert "the page failed" in caplog.text


def test_recipes_that_sliders_cannot_show_are_kept_whole(
    G: NetworkGenerator, warmth: Direction, tmp_path: Path
) -> None:
    from editkit.generator import save_generator
    from editkit.latent import Latent
    from editkit.page import editing
    from editkit.page.desk import Piece
    from editkit.page.studio import Studio

    save_generator(G, tmp_path / "g.safetensors")
    studio = Studio(Options(generator=str(tmp_path / "g.safetensors"), device="cpu"), tmp_path)
    desk = studio.desks.of("a")
    latent = Latent(space="w", codes=G.w_avg.expand(1, G.spec.num_ws, -1), generator=G.spec.id)
    desk.put(Piece(name="x", latent=latent, transform=None, picture=torch.zeros(1, 3, 32, 32)))
    wanted = Recipe(name="r", edits=(Edit(warmth, 1.0), Edit(warmth, 9.0), Edit(warmth, -0.5)))
    wanted.save(tmp_path / "r.recipe.json")
    editing.go_on_from(studio, desk, tmp_path / "r.recipe.json")
    assert desk.history.now.strengths == {"warmth": 1.0} and desk.history.now.under is None
    turned = Transform.translate(0.1, 0.0) @ Transform.rotate(30.0)
    editing.take_recipe(studio, desk, replace(wanted, transform=turned))
    assert (desk.history.now.x, desk.history.now.turn, desk.history.now.under) == (0.1, 30.0, None)
    again = editing.recipe_of(studio, desk).transform
    assert again is not None and torch.allclose(again.matrix, turned.matrix, atol=1e-6)
    editing.take_recipe(studio, desk, replace(wanted, transform=Transform.scale(3.0)))
    assert desk.history.now.zoom == 1.0 and desk.history.now.under is not None
    editing.take_recipe(studio, desk, wanted)
    assert sorted(edit.strength for edit in editing.recipe_of(studio, desk).edits) == [-0.5, 1.0, 9.0]
    with pytest.raises(UsageError, match="neither a recipe"):
        editing.go_on_from(studio, desk, tmp_path / "notes.txt")
