"""The page's own small parts: options, undo, desks, library, grouping, methods, toasts. No server, no browser."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from project_fixtures import G, checkpoint, home, make_photo, photo, warmth

import projector
from editkit.alignment import align
from editkit.direction import Direction
from editkit.edits import Edit, Recipe
from editkit.errors import OutputError, PhotoError, SchemaError, UsageError
from editkit.generator import NetworkGenerator
from editkit.page import api, grouping, live, methods, parts, toasts, turns
from editkit.page.desk import IDLE, LEFT, MOST, PLACES, Desk, Desks
from editkit.page.library import Library
from editkit.page.options import Options, read_auth, steps_at_first
from editkit.page.settings import DEPTH, History, Settings, placed_by
from editkit.page.turns import Turns
from editkit.photo import read_photo
from editkit.transform import Transform
from projector.job import Job, Outcome


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


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


def test_desks_are_apart_and_cleared(tmp_path: Path) -> None:
    clock = Clock()
    desks = Desks(tmp_path, clock=clock)
    first, second = desks.of("a"), desks.of("b")
    searching = first.start()
    assert first is not second and desks.of("a") is first
    assert desks.of("a", "ann") is not first, "another user gets a desk of their own"
    assert not first.folder.exists() and searching.is_set()
    running, walking = second.start(), second.start("walk")
    assert second.start("walk") is not walking and walking.is_set() and not running.is_set()
    desks.leave("b")
    assert running.is_set() and second.jobs["walk"].is_set(), "what was going on is told to stop"
    clock.now += LEFT + 1
    desks.of("c")
    assert not second.folder.exists() and len(desks) == 2
    clock.now += IDLE + 1
    desks.of("d")
    assert len(desks) == 1
    for number in range(MOST + 10):
        clock.now += 1
        desks.of(f"many {number}")
    assert len(desks) <= MOST + 1
    assert len(list(tmp_path.iterdir())) == len(desks)


def test_a_desk_is_cleared_though_nobody_comes_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Timer] = []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: started.append(timer))
    clock = Clock()
    desks = Desks(tmp_path, clock=clock)
    first, second = desks.of("a"), desks.of("b")
    desks.leave("a")
    clock.now += LEFT / 2
    desks.leave("b")
    (timer,) = started
    clock.now += LEFT / 2 + 1
    timer.function()
    assert not first.folder.exists() and second.folder.exists() and len(started) == 2
    clock.now += LEFT + 1
    started[1].function()
    assert not second.folder.exists() and len(started) == 2, "no timer without a closed page"


def test_a_batch_keeps_the_limit_of_pixels(photo: Path) -> None:
    from editkit.page.batch_tab import Upload

    with pytest.raises(PhotoError, match="pixels"):
        Upload(path=photo, name="x", max_pixels=10).of_face(1, 2).read()


def test_a_click_on_what_the_server_knows_no_more_says_what_to_do() -> None:
    assert parts.clicked(["a", "b"], 1) == "b"
    for shown in (None, [], ["a"]):
        with pytest.raises(UsageError, match="load the page again"):
            parts.clicked(shown, 1)


def test_old_files_of_a_desk_are_removed(tmp_path: Path) -> None:
    desk = Desk(folder=tmp_path)
    kept, old = desk.path("a", lasting=True), desk.path("b")
    for _ in range(PLACES):
        desk.path("c")
    assert kept.parent.is_dir() and not old.parent.exists() and len(list(tmp_path.iterdir())) == PLACES + 1


def test_the_shelf_gives_free_names(tmp_path: Path) -> None:
    from editkit.latent import Latent
    from editkit.page.desk import Piece

    latent = Latent(space="w", codes=torch.zeros(1, 2, 3), generator="x")
    desk, piece = (
        Desk(folder=tmp_path),
        Piece(name="me", latent=latent, transform=None, picture=torch.zeros(1, 3, 8, 8)),
    )
    assert [desk.shelve(piece) for _ in range(3)] == ["me", "me (2)", "me (3)"]


def test_live_work_tells_and_ends() -> None:
    cancel = threading.Event()

    def work(tell):
        for number in range(5):
            tell(number)
            time.sleep(0.02)
        return "end"

    items = list(live.live(work, cancel, Turns()))
    assert items[-1] == live.Result("end") and items[0] == live.News(0) and not cancel.is_set()

    def fails(tell):
        raise PhotoError("no")

    with pytest.raises(PhotoError):
        list(live.live(fails, cancel, Turns()))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a niceness is the whole process's")
def test_live_work_gives_way_to_the_rest() -> None:
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    (result,) = live.live(
        lambda tell: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), threading.Event(), Turns()
    )
    assert isinstance(result, live.Result) and result.value == max(here, live.GIVES_WAY)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == here, "sliders do not"


def test_leaving_live_work_cancels_it() -> None:
    cancel, seen = threading.Event(), threading.Event()

    def work(tell):
        tell(1)
        assert cancel.wait(10)
        seen.set()

    running = live.live(work, cancel, Turns())
    next(running)
    running.close()
    assert seen.wait(10)


def test_long_work_takes_turns_and_says_how_many_are_before_it() -> None:
    line, ended = Turns(), threading.Event()
    first = live.live(lambda tell: (tell("on"), ended.wait(10), "first")[-1], threading.Event(), line)
    assert next(first) == live.News("on")
    given_up, cancel = live.live(lambda tell: "second", gone := threading.Event(), line), threading.Event()
    assert "one search" in next(given_up).text
    third = live.live(lambda tell: "third", cancel, line)
    assert "2 searches" in next(third).text
    gone.set()
    assert list(given_up) == [], "who does not wait gets nothing, and nothing is begun"
    assert "one search" in next(third).text
    ended.set()
    assert list(first) == [live.Result("first")]
    assert list(third) == [live.Result("third")] and not cancel.is_set()


def test_work_of_many_parts_lets_others_go_between_two_of_them() -> None:
    line, order, waits = Turns(), [], threading.Event()

    def many(tell):
        order.append("part 1")
        tell("part 1")
        assert waits.wait(10)
        tell.give_way()
        order.append("part 2")

    batch = live.live(many, threading.Event(), line)
    next(batch)
    search = live.live(lambda tell: order.append("search"), threading.Event(), line)
    assert isinstance(next(search), live.Waiting)
    waits.set()
    assert isinstance(next(batch), live.Waiting)
    list(search)
    list(batch)
    assert order == ["part 1", "search", "part 2"]


def test_who_leaves_while_waiting_leaves_the_line_and_too_many_are_refused() -> None:
    line, places = Turns(), ExitStack()
    with places:
        for _ in range(turns.MOST):
            places.enter_context(line.place())
        waiting = live.live(lambda tell: 1, cancel := threading.Event(), line)
        next(waiting)
        with pytest.raises(UsageError, match="try again"):
            next(live.live(lambda tell: 1, threading.Event(), line))
        waiting.close()
        assert cancel.is_set()
        assert isinstance(next(live.live(lambda tell: 1, threading.Event(), line)), live.Waiting)
    assert list(live.live(lambda tell: 1, threading.Event(), line)) == [live.Result(1)]


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


@pytest.fixture
def kept(G: NetworkGenerator, photo: Path) -> tuple[Library, str]:
    library, key = Library.of(None), Library.key("abc", 0)
    face = align(read_photo(photo), G.spec, convention="centre")
    method = projector.Optimise(steps=2)
    found = projector.project(G, face, method)
    from editkit.perceptual import best_available

    job = Job(generator=G, method=method, perceptual=best_available(G.device), recipe=Recipe(name="none", edits=()))
    outcome = Outcome(face=face, found=found, edited=found.image, zero_edit_is_identity=True, seconds=1.0)
    for _ in range(2):  # kept again: the same entry, anew
        library.keep(key, "Holiday Zebra", job, outcome)
    return library, key


def test_the_library_keeps_opens_searches_and_deletes(
    kept: tuple[Library, str], G: NetworkGenerator, photo: Path
) -> None:
    library, key = kept
    (entry,) = library.entries()
    assert entry.name == "Holiday Zebra" and library.entries(search="zebra HOLI")
    assert not library.entries(search="other")
    assert library.find(key, G.spec.id) is not None and library.find(key, "other") is None
    piece = library.open(entry)
    piece.latent.check(G.spec)
    assert piece.face is not None and torch.equal(piece.face.photo.image, read_photo(photo).image)
    assert {path.name for path in entry.folder.iterdir()} >= {"photo.png", "latent.safetensors", "report.json"}
    assert library.delete(entry.key) and not library.delete(entry.key)
    assert not entry.folder.exists() and not library.entries()
    assert b"Zebra" not in (library.folder / "manifest.sqlite").read_bytes(), (
        "the row is overwritten, not only unlinked"
    )


def test_what_cannot_be_deleted_is_said_and_stays(kept: tuple[Library, str], monkeypatch: pytest.MonkeyPatch) -> None:
    library, _ = kept
    before = library.entries()
    monkeypatch.setattr("editkit.page.library.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(OutputError, match="could not be deleted"):
        library.delete(before[0].key)
    assert library.entries() == before


def test_the_libraries_of_users_are_apart(kept: tuple[Library, str]) -> None:
    assert Library.of("ann").folder != Library.of("bob").folder != kept[0].folder
    assert not Library.of("ann").entries()
    assert Library.of("../../x").folder.parent == Library.of("ann").folder.parent


def test_a_library_of_a_newer_version_is_refused(kept: tuple[Library, str]) -> None:
    import sqlite3

    with sqlite3.connect(kept[0].folder / "manifest.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(SchemaError):
        kept[0].entries()


def test_steps_show_the_latent_and_the_history_does_not(G: NetworkGenerator, photo: Path) -> None:
    seen = []
    face = align(read_photo(photo), G.spec, convention="centre")
    found = projector.project(G, face, projector.Optimise(steps=3), on_step=lambda step: seen.append(step))
    assert [len(step.latent) for step in seen] == [1, 1, 1] and all(step.latent is None for step in found.history)
    assert torch.equal(seen[-1].latent.tensor, found.latent.tensor)


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
