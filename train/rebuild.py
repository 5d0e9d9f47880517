"""Everything that depends on the bundled generator, rebuilt in order: sheets, encoder, directions with sample bank and
strips, main job, figures, card."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from directions.bank import BUNDLED_SUFFIX, bundled_bank
from directions.bars import failures
from directions.bundle import build
from directions.catalog import bundled_directions, folder_of
from directions.judging import SAMPLES, judge
from directions.score import all_scorers, sample_latents
from directions.strips import strip
from editkit import cli
from editkit.checkpoints.header import read_header
from editkit.direction import Direction
from editkit.errors import DirectionError, EditkitError
from editkit.files import ensure_folder, write_bytes, write_text
from editkit.generator import DEFAULT, MODELS, Generator, load_generator
from editkit.photo import write_image
from editkit.rendering import image_grid
from projector.encoder import fitting_encoder, load_encoder
from train.direction_table import direction_table, update_page
from train.encoder_card import encoder_card
from train.faces import load_faces
from train.generator_card import generator_card
from train.generator_evaluation import evaluate, sample

Progress = Callable[[str], None]
STRIP_SEED = 100_008  # four of the samples that directions are judged on, too, none of them with glasses
ENCODER = MODELS / "encoder64.safetensors"


class Stages:
    """What is done already, by name, in a file that is ``of`` one generator and one set of options: stopped, a rebuild
    goes on there."""

    def __init__(self, path: Path, *, of: Sequence[str], say: Progress) -> None:
        self.path, self.of, self.say = path, list(of), say
        self.done: list[str] = []
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                self.done = list(found["done"]) if found["of"] == self.of else []
            except (OSError, ValueError, KeyError, TypeError):
                say(f"{path} cannot be read: beginning anew")

    def run(self, name: str, stage: Callable[[], object]) -> None:
        """``stage()``, unless it was done before."""
        if name in self.done:
            self.say(f"{name}: done before ({self.path}, delete it to begin anew)")
            return
        stage()
        self.done.append(name)
        write_text(self.path, json.dumps({"of": self.of, "done": self.done}))


def rebuild(
    *,
    data: Path,
    unseen: Path,
    sheets: Path,
    spaces: Sequence[str] = ("w+",),
    steps: int = 200,
    encoder_minutes: float = 60.0,
    on_progress: Progress | None = None,
) -> None:
    """Rebuilds what depends on ``editkit/models/faces64.safetensors``; stopped, the next call goes on.

    Args:
        data: the training zip, for its evaluation split; unseen: a zip of photos to invert.
        sheets: folder for the pictures of the documentation; a ``directions.md`` beside it gets its table anew.
        spaces, steps: of the inversions.
        encoder_minutes: for training an encoder, where the bundled one is of another generator; 0 trains none.

    Raises:
        DirectionError: no direction keeps the bars. TrainingDataError: a zip cannot be read.
        EditkitError: the main job or the encoder failed; it has said why.
    """
    say = on_progress or (lambda text: None)
    path = MODELS / f"{DEFAULT}.safetensors"
    G = load_generator(path)
    resolution = G.spec.resolution
    faces, photos = load_faces(data, resolution=resolution), load_faces(unseen, resolution=resolution).images
    ensure_folder(sheets)
    options = (G.spec.id, *map(str, (data, unseen, sheets, *spaces, steps, encoder_minutes)))
    stages = Stages(ensure_folder(Path("runs")) / "rebuild.json", of=options, say=say)

    def passing() -> list[Direction]:
        found = [one for one in bundled_of(G) if not failures(one)]
        if not found:
            raise DirectionError(
                f"no direction in {folder_of(G.spec.id, bundled_directions())} keeps the bars; delete {stages.path} to "
                "look for them again"
            )
        return found

    def show_samples() -> None:
        for psi, name in ((1.0, "samples"), (0.7, "samples_psi07")):
            pictures = image_grid(sample(G, range(64), truncation_psi=psi), columns=8)
            write_image(sheets / f"{DEFAULT}_{name}.png", pictures)
        say(f"{DEFAULT}: sheets of samples in {sheets}")

    def find_directions() -> None:
        begun = time.process_time()
        build(G, say=say, on_progress=labelling(say))
        minutes = (time.process_time() - begun) / 60
        say(f"directions: {', '.join(one.name for one in passing())}; {minutes:.1f} minutes of processor time")
        remove_former(G.spec.id, say)

    def tell_directions() -> None:
        show_directions(G, passing(), sheets)
        if (page := sheets.parent / "directions.md").is_file():
            beside = {one.name: judge(G, one, beside=all_scorers()).beside for one in passing()}
            update_page(page, direction_table(bundled_of(G), samples=SAMPLES, pictures=sheets.name, beside=beside))
            say(f"directions: {page}")

    def write_card() -> None:
        offered = passing()
        labels = {"age": faces.ages, "gender presentation": faces.genders}
        figures = evaluate(
            G,
            unseen=photos,
            evaluation=faces.images[faces.is_evaluation],
            spaces=spaces,
            steps=steps,
            labels={name: values[faces.is_evaluation] for name, values in labels.items()},
            on_progress=say,
        )
        write_text(MODELS / f"{DEFAULT}.md", generator_card(read_header(path), figures, offered))
        say(f"card: {MODELS / DEFAULT}.md")

    stages.run("sheets", show_samples)
    if encoder_minutes > 0:
        stages.run("encoder", lambda: rebuild_encoder(G, data, minutes=encoder_minutes, say=say))
    stages.run("directions", find_directions)
    stages.run("strips and table of the directions", tell_directions)
    stages.run("main job", lambda: show_main_job(sheets / "compare.png"))
    stages.run("card", write_card)
    stages.path.unlink()


def bundled_of(G: Generator) -> list[Direction]:
    """The directions in the bundle's folder of ``G``, offered or not."""
    return [Direction.load(path) for path in sorted(folder_of(G.spec.id, bundled_directions()).glob("*.safetensors"))]


def labelling(say: Progress) -> Callable[[int, int], None]:
    """A progress function that says a line each thousand samples, and at the end."""
    said = -1

    def report(done: int, total: int) -> None:
        nonlocal said
        if done // 1000 > said or done == total:
            said = done // 1000
            say(f"directions: {done} of {total} samples labelled")

    return report


def remove_former(generator: str, say: Progress) -> None:
    """Removes the directions and sample banks of generators that are no longer bundled."""
    current = {folder_of(generator, bundled_directions()), bundled_bank(generator)}
    for path in bundled_directions().iterdir():
        if path in current or path.name == "__pycache__":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name.endswith(BUNDLED_SUFFIX):
            path.unlink()
        else:
            continue
        say(f"removed {path.name}, of a former generator")


def show_directions(G: Generator, made: Sequence[Direction], sheets: Path) -> None:
    """A strip of each direction on generated faces, and none of those that are gone: ``direction_<name>.png``."""
    latents = sample_latents(G, samples=4, seed=STRIP_SEED)
    written = {sheets / f"direction_{one.name}.png" for one in made}
    for one in made:
        write_image(sheets / f"direction_{one.name}.png", strip(G, one, latents))
    for path in set(sheets.glob("direction_*.png")) - written:
        path.unlink()


def rebuild_encoder(G: Generator, data: Path, *, minutes: float, say: Progress) -> None:
    """Trains the bundled encoder anew where it is of another generator than ``G`` or not evaluated; writes its card.

    Stopped, it goes on from ``runs/encoder64.state``.
    """
    state = ensure_folder(Path("runs")) / f"{ENCODER.stem}.state"
    if fitting_encoder(G) is not None and "evaluation" in (read_header(ENCODER).get("training") or {}):
        say("encoder: the bundled one fits")
    else:
        path = str(MODELS / f"{DEFAULT}.safetensors")
        options = ["--minutes", str(minutes), "--state", str(state), "--generator", path]
        _run(["train", "encoder", "--data", str(data), "--out", str(ENCODER), *options])
    state.unlink(missing_ok=True)
    network, curvature = load_encoder(G)
    counts = {"parameters": sum(p.numel() for p in network.parameters()), "directions": curvature.shrink.shape[1]}
    card = encoder_card(ENCODER.name, ENCODER.stat().st_size, read_header(ENCODER), **counts)
    write_text(ENCODER.with_suffix(".md"), card)
    say(f"encoder: {ENCODER}")


def show_main_job(picture: Path) -> None:
    """Run the README's main job, and keep the picture that the README shows of it.

    Raises EditkitError where it fails.
    """
    with tempfile.TemporaryDirectory() as out:
        _run(["project", "--out", out, "--quiet"])
        (found,) = Path(out).glob("*/compare.png")
        write_bytes(picture, found.read_bytes())


def _run(arguments: Sequence[str]) -> None:
    """``editkit`` with ``arguments``. Raises EditkitError where it ends with another code than 0."""
    if (code := cli.main(list(arguments))) == cli.EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise EditkitError(f"`editkit {' '.join(arguments[:2])}` ended with {code}; it has said why")
