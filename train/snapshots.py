"""What a run keeps in its folder.

    state.safetensors            everything for an exact resume; state-previous.safetensors the one before
    transport.safetensors        a small copy in half precision without optimisers: declared lossy
    generator.safetensors        the averaged generator: ``editkit project --generator`` and everything else opens it
    discriminator.safetensors    for fine-tuning onto other pictures (``--from``)
    best.safetensors             the generator with the lowest metric so far
    samples/NNNNNNNNN.png        a grid of the same samples at every snapshot; walk.mp4 a short video of the last
    log.jsonl                    a line every few steps; the same, and the grids, in tensorboard/ where it is installed

A snapshot is written under another name first, so that a full disk or a kill leaves the one before as it was.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editkit.checkpoints.native import read_header, write_checkpoint
from editkit.colour import as_rgb
from editkit.errors import CheckpointError, OutputError, SchemaError
from editkit.files import ensure_folder, write_text
from editkit.photo import write_image
from editkit.rendering import image_grid
from editkit.seeds import z_from_seeds
from train.state_file import load_state, load_transport, save_state, save_transport
from train.training import Training

log = logging.getLogger(__name__)

STATE, PREVIOUS, NEW = "state.safetensors", "state-previous.safetensors", "state-new.safetensors"
GRID = 32  # samples


class Folder:
    """The folder of one run; see the module's text for its files. Raises OutputError where it cannot be written."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = ensure_folder(path)
        self.samples = ensure_folder(self.path / "samples")
        self._board: Any = None
        self._purged: int | None = None
        self._damaged: set[str] = set()  # states that cannot be read

    def save(self, training: Training, facts: Mapping[str, Any], *, kept: int = 20) -> None:
        """State, networks and grid; of the grids the last ``kept`` and the first stay. Raises OutputError."""
        save_state(self.path / NEW, training.state_dict() | {"facts": dict(facts)})
        if (self.path / STATE).is_file() and STATE not in self._damaged:  # the one before it stays instead
            os.replace(self.path / STATE, self.path / PREVIOUS)
        os.replace(self.path / NEW, self.path / STATE)
        self._damaged.clear()
        save_transport(self.path / "transport.safetensors", training.state_dict())
        write_generator(self.path / "generator.safetensors", training, facts)
        write_discriminator(self.path / "discriminator.safetensors", training, facts)
        sheet = grid(training)
        write_image(self.samples / f"{training.seen:09d}.png", sheet)
        for old in sorted(self.samples.glob("*.png"))[1:-kept]:
            old.unlink(missing_ok=True)
        self._show(sheet, training.seen)

    def best_header(self) -> dict[str, Any] | None:
        """Header of the best generator so far; None where there is none that can be read."""
        try:
            return read_header(self.path / "best.safetensors")
        except (CheckpointError, SchemaError):
            return None

    def load(self) -> dict[str, Any] | None:
        """The newest state that can be read; None where there is none. A damaged one is named, and passed over.

        Raises CheckpointError where there are states and none can be read.
        """
        found = [self.path / name for name in (NEW, STATE, PREVIOUS) if (self.path / name).is_file()]
        for path in found:
            try:
                return load_state(path)
            except (CheckpointError, SchemaError) as error:
                self._damaged.add(path.name)
                log.warning("%s; going back to the snapshot before", error)
        if found:
            raise CheckpointError(f"no snapshot in {self.path} can be read; choose another --out to begin anew")
        return None

    def note(self, record: Mapping[str, Any]) -> None:
        """Add a line to the log, and to TensorBoard. A log that cannot be written stops nothing."""
        try:
            with (self.path / "log.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(dict(record)) + "\n")
        except OSError as error:
            log.warning("%s: %s; training goes on without it", self.path / "log.jsonl", error)
        for name, value in record.items():
            if isinstance(value, float) and "images" in record:
                self._on_board("add_scalar", name, value, record["images"])

    def forget_after(self, seen: int) -> None:
        """Drop log lines of images after ``seen``: a run was killed, or went back, to its last snapshot."""
        self._purged = seen + 1
        if self._board:  # the next one hides what this one wrote of them
            self._on_board("close")
            self._board = None
        path = self.path / "log.jsonl"
        if not path.is_file():
            return
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if _images(line) <= seen]
        try:
            write_text(path, "".join(f"{line}\n" for line in lines))
        except OutputError as error:
            log.warning("%s; training goes on with the log as it was", error)

    def _show(self, sheet: Tensor, seen: int) -> None:
        self._on_board("add_image", "samples", (sheet.clamp(-1, 1) + 1) / 2, seen)
        self._on_board("flush")

    def _on_board(self, method: str, *arguments: Any) -> None:
        """A call of TensorBoard's writer, where it is installed. That it fails stops nothing."""
        if self._board is False:
            return
        try:
            if self._board is None:
                from torch.utils.tensorboard import SummaryWriter

                place = str(self.path / "tensorboard")
                self._board = SummaryWriter(place, purge_step=self._purged)  # type: ignore[no-untyped-call]
            getattr(self._board, method)(*arguments)
        except ImportError:
            log.debug("tensorboard is not installed: curves are in log.jsonl alone")
            self._board = False
        except Exception as error:  # a full disk, found by its own thread
            log.warning("TensorBoard: %s; training goes on without it", error)
            self._board = False


def lossy(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A transport copy, to go on from without optimisers. Raises CheckpointError."""
    return load_transport(path)


def write_generator(path: Path, training: Training, facts: Mapping[str, Any]) -> None:
    """The averaged generator as a native checkpoint. Raises OutputError."""
    c = training.config
    header: dict[str, Any] = {
        "kind": c.kind,
        "arguments": c.generator,
        "name": str(facts.get("name", "trained")),
        "domain": facts.get("domain"),
        "alignment": facts.get("alignment", "centre"),
        "training": {"images": training.seen, "config": c.to_json(), "facts": dict(facts)},
    }
    if facts.get("class_names"):
        header["class_names"] = list(facts["class_names"])
    if training.labels is not None:
        header["labels"] = training.labels.to_header()
    tensors = training.average.state_dict()
    if c.c_dim == 0:
        tensors["mapping.w_avg"] = _settled_w_avg(training)
    write_checkpoint(path, tensors, header)


def write_discriminator(path: Path, training: Training, facts: Mapping[str, Any]) -> None:
    """The discriminator as a native checkpoint. Raises OutputError."""
    c = training.config
    header = {
        "kind": "projected_discriminator" if c.judge == "features" else "discriminator",
        "arguments": c.discriminator,
        "name": f"{facts.get('name', 'trained')}-discriminator",
        "training": {"images": training.seen, "features": list(c.features)},
    }
    write_checkpoint(path, training.discriminator.state_dict(), header)


def samples(training: Training, count: int, *, seed: int = 0, batch: int = 16) -> Tensor:
    """Untruncated pictures of the averaged generator, [count, C, R, R] in [-1, 1] on the CPU.

    Each seed draws its label from the data's, as it does in ``editkit generate``; without data classes take turns.
    """
    network, c = training.average, training.config
    device = training.world.device
    z = z_from_seeds(range(seed, seed + count), c.z_dim)
    label = None
    if c.c_dim:
        seeds = range(seed, seed + count)
        label = (
            torch.eye(c.c_dim)[[s % c.c_dim for s in seeds]] if training.labels is None else training.labels.draw(seeds)
        )
    made = []
    with torch.no_grad():
        for start in range(0, count, batch):
            part = slice(start, start + batch)
            ws = network.mapping(z[part].to(device), None if label is None else label[part].to(device))
            options = {"noise_mode": "const"} if c.kind == "stylegan2" else {}
            made.append(network.synthesis(ws, **options).float().cpu())
    return torch.cat(made)


def grid(training: Training) -> Tensor:
    """The first samples, as a picture [3, H, W]."""
    return image_grid(as_rgb(samples(training, GRID).clamp(-1, 1)), columns=8)


def video(training: Training, path: Path, *, frames: int = 48) -> bool:
    """A walk through four samples and back; False where the packages for it are not there."""
    try:
        from editkit.generator import load_generator
        from editkit.rendered_path import render_path
        from editkit.sampling import sample_w
        from editkit.video import write_video

        G = load_generator(path.parent.parent / "generator.safetensors", device=str(training.world.device))
        walk = render_path(G, sample_w(G, range(4)), frames=frames, loop=True)
        write_video(path, walk, fps=24)
    except ImportError as error:
        log.debug("no video of the samples: %s", error)
        return False
    except Exception as error:  # a video is a courtesy: it never ends a training
        log.warning("no video of the samples: %s", error)
        return False
    return True


def _settled_w_avg(training: Training) -> Tensor:
    """The mean of w over the prior: the running one of a training lags behind the weights."""
    network = training.average
    stream = torch.Generator().manual_seed(0)
    z = torch.randn(4096, training.config.z_dim, generator=stream).to(training.world.device)
    with torch.no_grad():
        return torch.as_tensor(network.mapping(z)[:, 0].mean(0))


def _images(line: str) -> int:
    try:
        return int(json.loads(line).get("images", 0))
    except (ValueError, AttributeError, TypeError):
        return 2**62  # a line that was cut
