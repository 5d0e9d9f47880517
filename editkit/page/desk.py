"""A visitor's desk: the photo, what was found of it, settings, shelf. One a browser page; nobody sees another's."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editkit.page.settings import History

if TYPE_CHECKING:
    from torch import Tensor

    from editkit.alignment import AlignedPhoto
    from editkit.faces import Face
    from editkit.latent import Latent
    from editkit.photo import Photo
    from editkit.transform import Transform
    from editkit.weight_delta import WeightDelta

SEARCH = "search"
"""The long work of the Edit tab; others have names of their own, so that a walk does not end a search."""
IDLE = 3600.0
"""Seconds after which a desk that nobody uses is cleared."""
LEFT = 600.0
"""The same once its page was closed."""
MOST = 64
"""Desks at a time; the one unused for longest gives way."""
PLACES = 100
"""Places for files that a desk has at a time, besides those that last."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """What is edited: a latent with its picture, and the photo it was found for, if any."""

    name: str
    latent: Latent
    transform: Transform | None
    picture: Tensor  # [1, 3, R, R], the latent's, before any edit
    unpulled: Tensor | None = None  # of a face whose points were pulled: its picture before; the photo shows the change
    face: AlignedPhoto | None = None
    alignment: Any = None  # of a latent that came as a file, whose photo is not here
    told: str = ""  # how the search went, for people
    tuning: WeightDelta | None = None  # what pivotal tuning adds to the generator for this photo
    from_photo: bool = False  # made of one that was found for a photo: pulled, blended, edited

    @property
    def of_photo(self) -> bool:
        """Whether its latent comes from a search for a photo, be that here or not."""
        return self.face is not None or self.alignment is not None or self.from_photo

    @property
    def summary(self) -> str:
        """A line on it for people."""
        return f"{self.name}: {self.told}" if self.told else self.name


@dataclass(kw_only=True, eq=False)
class Desk:
    """What one page works on. ``folder`` holds its files and goes with it."""

    folder: Path
    user: str | None = None
    photo: Photo | None = None
    photo_name: str = ""
    photo_key: str = ""  # hash of the file
    faces: list[Face] = field(default_factory=list)
    piece: Piece | None = None
    history: History = field(default_factory=History)
    shelf: dict[str, Piece] = field(default_factory=dict)
    bag: dict[str, Any] = field(default_factory=dict)  # what the other tabs keep
    jobs: dict[str, threading.Event] = field(default_factory=dict)  # of each tab's long work, what ends it
    used: float = field(default_factory=time.monotonic)
    closed: bool = False
    keeping: threading.Thread | None = None  # what is being written into the library
    moving: threading.Lock = field(default_factory=threading.Lock)  # held while the settings change
    _numbers: int = 0
    _places: deque[Path] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, job: str = SEARCH) -> threading.Event:
        """A new flag for work that begins; what went on before under that name is told to stop."""
        self.stop(job)
        self.jobs[job] = threading.Event()
        return self.jobs[job]

    def stop(self, job: str | None = None) -> None:
        """Tell some work to stop, or all."""
        for cancel in list(self.jobs.values()) if job is None else [self.jobs.setdefault(job, threading.Event())]:
            cancel.set()

    def put(self, piece: Piece) -> None:
        """Lay a piece on the desk, with nothing set."""
        self.piece, self.history = piece, History()

    def shelve(self, piece: Piece) -> str:
        """Keep a piece on the shelf under a name that is free, and say which."""
        name, number = piece.name, 1
        while name in self.shelf:
            number += 1
            name = f"{piece.name} ({number})"
        self.shelf[name] = piece
        return name

    def path(self, name: str, *, lasting: bool = False) -> Path:
        """A new place for a file that will be called ``name``; the last ``PLACES`` stay, and those that are to last.

        Gradio copies what is handed to the browser, so a place is needed for a moment only.
        """
        with self._lock:
            self._numbers += 1
            place = self.folder / str(self._numbers)
            place.mkdir()
            if not lasting:
                self._places.append(place)
            passed = [self._places.popleft() for _ in range(len(self._places) - PLACES)]
        for old in passed:
            shutil.rmtree(old, ignore_errors=True)
        return place / name


class Desks:
    """The desks of all pages, by the page's session. Old ones are cleared when one is asked for, and a while after
    a page was closed."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock = root, clock
        self._desks: dict[str, Desk] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def of(self, session: str, user: str | None = None) -> Desk:
        """The desk of a session, a new one where there is none, or where it belongs to someone else."""
        with self._lock:
            self._sweep()
            desk = self._desks.get(session)
            if desk is None or desk.user != user:
                if desk is not None:
                    self._clear(session)
                folder = Path(tempfile.mkdtemp(prefix="desk-", dir=self._root))
                desk = Desk(folder=folder, user=user)
                weakref.finalize(desk, shutil.rmtree, folder, ignore_errors=True)
                self._desks[session] = desk
            desk.used, desk.closed = self._clock(), False
            return desk

    def leave(self, session: str) -> None:
        """Its page was closed: what is going on stops; the desk stays for a while, in case it comes back."""
        with self._lock:
            desk = self._desks.get(session)
            if desk is not None:
                desk.stop()
                desk.closed, desk.used = True, self._clock()
            self._sweep()
            self._sweep_later()

    def __len__(self) -> int:
        return len(self._desks)

    def _sweep(self) -> None:
        now = self._clock()
        for session, desk in list(self._desks.items()):
            if now - desk.used > (LEFT if desk.closed else IDLE):
                self._clear(session)
        for session, _ in sorted(self._desks.items(), key=lambda entry: entry[1].used)[: len(self._desks) - MOST]:
            self._clear(session)

    def _sweep_later(self) -> None:
        """Sweep also where nobody comes any more, as long as a closed page's desk is there."""
        if self._timer is None and any(desk.closed for desk in self._desks.values()):
            self._timer = threading.Timer(LEFT + 1, self._swept)
            self._timer.daemon = True
            self._timer.start()

    def _swept(self) -> None:
        with self._lock:
            self._timer = None
            self._sweep()
            self._sweep_later()

    def _clear(self, session: str) -> None:
        desk = self._desks.pop(session)
        desk.stop()
        shutil.rmtree(desk.folder, ignore_errors=True)
