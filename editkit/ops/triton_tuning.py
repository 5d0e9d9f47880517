"""How launches of the filtered non-linearity are cut, measured once a kind of geometry and GPU where that is asked for.

EDITKIT_TRITON_TUNE=1 times the few candidates at the first use of each kind and keeps the fastest in a file, which
later processes read; without it only what the file holds is used, and the default else.
"""

import json
import logging
import os
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch

log = logging.getLogger(__name__)

TRIALS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """How a pass is cut: upsampled columns a lane, lanes a program, and programs wanted a multiprocessor.

    Larger strips filter fewer samples twice and need more registers; more programs fill the GPU and begin more often
    with rows that only warm the filters up.
    """

    strip: int
    block: int = 128
    programs: int = 4


def candidates(default: Launch, *, multiple: int) -> list[Launch]:
    """The default first; strips stay a multiple of ``multiple``."""
    other_strip = default.strip // 2 if default.strip >= 2 * max(8, multiple) else default.strip * 2
    return [
        default,
        Launch(strip=other_strip, block=default.block, programs=default.programs),
        Launch(strip=default.strip, block=64, programs=2 * default.programs),
        Launch(strip=default.strip, block=default.block, programs=2 * default.programs),
    ]


def tuning_file() -> Path:
    """Where measured launches are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "editkit" / "triton_launches.json"


@lru_cache(maxsize=1)
def _table() -> dict[str, Launch]:
    try:
        stored = json.loads(tuning_file().read_text())
        return {key: Launch(**{name: int(value) for name, value in found.items()}) for key, found in stored.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s is not readable (%s): measured launches are not used", tuning_file(), error)
        return {}


def choose(key: str, default: Launch, run: Callable[[Launch], object], *, multiple: int) -> Launch:
    """The launch of ``key`` (a kind of geometry on one GPU); ``run`` makes one pass and is only called to measure."""
    table = _table()
    found = table.get(key)
    if found is not None and found.strip % multiple == 0 and found.block in (32, 64, 128, 256):
        return found
    if os.environ.get("EDITKIT_TRITON_TUNE", "0") in ("", "0") or torch.cuda.is_current_stream_capturing():
        return default
    times = {launch: _milliseconds(partial(run, launch)) for launch in candidates(default, multiple=multiple)}
    best = min(times, key=lambda launch: times[launch])
    log.info("%s: %s", key, ", ".join(f"{launch} {ms:.3f} ms" for launch, ms in times.items()))
    table[key] = best
    try:
        tuning_file().parent.mkdir(parents=True, exist_ok=True)
        tuning_file().write_text(json.dumps({name: asdict(launch) for name, launch in table.items()}, indent=1))
    except OSError as error:
        log.warning("measured launches cannot be kept in %s: %s", tuning_file(), error)
    return best


def _milliseconds(run: Callable[[], object]) -> float:
    """Median of ``TRIALS`` runs after two that are not counted."""
    times = []
    for trial in range(TRIALS + 2):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        if trial >= 2:
            times.append(start.elapsed_time(end))
    return statistics.median(times)
