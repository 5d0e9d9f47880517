"""Long work of the page: told while it goes, ended, in turns."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from project_fixtures import G, checkpoint, photo

import projector
from editkit.alignment import align
from editkit.errors import PhotoError, UsageError
from editkit.generator import NetworkGenerator
from editkit.page import live, turns
from editkit.page.turns import Turns
from editkit.photo import read_photo


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


def test_steps_show_the_latent_and_the_history_does_not(G: NetworkGenerator, photo: Path) -> None:
    seen = []
    face = align(read_photo(photo), G.spec, convention="centre")
    found = projector.project(G, face, projector.Optimise(steps=3), on_step=lambda step: seen.append(step))
    assert [len(step.latent) for step in seen] == [1, 1, 1] and all(step.latent is None for step in found.history)
    assert torch.equal(seen[-1].latent.tensor, found.latent.tensor)
