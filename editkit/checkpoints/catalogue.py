"""The catalogue of published networks: what they are, where their authors offer them, where they go on this machine.

The table is ``catalogue.json`` beside this file; it says where each address was documented. Nothing is downloaded
here (see ``download``), and nothing heavy is imported.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from editkit.errors import CheckpointError
from editkit.files import user_folder

TABLE = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedNetwork:
    """One network of the catalogue.

    Attributes:
        name: what ``--generator`` takes; kind: of network, as in ``header.KINDS``; resolution: pixels a side.
        domain: what it shows; alignment: the crop it expects; classes: of its label, 0 where it takes none.
        licence: of the weights, as their authors state it, or None; paper: where it was published.
        url: where its authors offer it; sha256: of the file, where they state it; documented: where all that was found.
    """

    name: str
    kind: str
    resolution: int
    domain: str
    alignment: str
    classes: int
    licence: str | None
    paper: str
    url: str
    sha256: str | None
    documented: str

    @property
    def path(self) -> Path:
        """Where its file lies, or goes."""
        return cache_folder() / f"{self.name}.pkl"

    @property
    def at_hand(self) -> bool:
        """Whether a file is there and not empty."""
        return self.path.is_file() and self.path.stat().st_size > 0


def cache_folder() -> Path:
    """Where published networks are kept: ``networks`` in ``editkit.files.user_folder``. Named, not made."""
    return user_folder() / "networks"


@lru_cache(maxsize=1)
def published() -> tuple[PublishedNetwork, ...]:
    """Every network of the catalogue, in the order of the table."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return tuple(_network(group, row) for group in table["groups"] for row in group["networks"])


def find(name: str) -> PublishedNetwork | None:
    """The network of that name, or None."""
    return next((network for network in published() if network.name == name), None)


def get(name: str) -> PublishedNetwork:
    """The network of that name. Raises CheckpointError that names those most like it."""
    if (network := find(name)) is not None:
        return network
    raise CheckpointError(f"no published network is called {name!r}; {_near(name)}editkit models list shows them all")


def require(name: str) -> Path:
    """The file of a network that is at hand.

    Raises:
        CheckpointError: unknown, or not on this machine; the message has its address, its place and the command.
    """
    network = get(name)
    if not network.at_hand:
        raise CheckpointError(
            f"{name} is not on this machine: run editkit models download {name}, or get {network.url} and put it "
            f"there as {network.path}"
        )
    return network.path


def resolve(name: str, *, bundled: Collection[str]) -> Path:
    """As ``require``, for a name that may be anything: the error of an unknown one has all that a user may give."""
    if find(name) is None:
        raise CheckpointError(
            f"no generator {name!r}; {_near(name)}give a bundled name ({', '.join(sorted(bundled))}), a published one "
            "(editkit models list), a .safetensors or an official .pkl"
        )
    return require(name)


def facts(path: str | os.PathLike[str], kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the catalogue knows of an official pickle that lies at ``path``, as header fields; {} if nothing.

    A file is known by its name, and only where its network is of the kind, resolution and number of classes that the
    catalogue states: a pickle itself says neither its crop nor its terms.
    """
    network = find(Path(path).stem)
    if network is None:
        return {}
    outer = arguments.get("stem") or arguments  # a StyleGAN-XL super-resolution head has the labels of its stem
    found = (kind, arguments.get("img_resolution"), outer.get("c_dim"))
    if found != (network.kind, network.resolution, network.classes):
        return {}
    return {"domain": network.domain, "alignment": network.alignment, "licence": network.licence}


def _near(name: str) -> str:
    near = difflib.get_close_matches(name, [network.name for network in published()], n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _network(group: Mapping[str, Any], row: Mapping[str, Any]) -> PublishedNetwork:
    return PublishedNetwork(
        name=row["name"],
        kind=group["kind"],
        resolution=row["resolution"],
        domain=row["domain"],
        alignment=row["alignment"],
        classes=row["classes"],
        licence=group["licence"],
        paper=group["paper"],
        url=group["base"] + row["file"],
        sha256=row.get("sha256"),
        documented=group["documented"],
    )
