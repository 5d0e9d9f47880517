"""A folder of photos over the workers of a Ray cluster (``pip install ray``).

Each worker is an actor with one process and one generator, loaded once. It works on a photo by ``folder.run`` itself,
so that claims, files and the manifest are those of any other run: workers on this and other machines, and runs without
Ray, may share the output folder, which all of them must see under one path, as the photos. A worker that is lost is
replaced, and its photo tried again; a photo that loses its worker ``TRIES`` times has failed.
"""

from __future__ import annotations

import importlib.util
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from editkit.errors import EditkitError, UsageError
from editkit.files import ensure_folder
from projector import folder
from projector.folder import Summary
from projector.folder_entry import Again, Watch, entry_of
from projector.job import Job
from projector.manifest import Manifest
from projector.report import write_page
from projector.result import Step
from projector.sources import Source

log = logging.getLogger(__name__)

TRIES = 3
_STORE = 80_000_000  # bytes; what goes to and fro is small, and Ray asks for at least 75 MB


def run(
    make_job: Callable[[], Job],
    sources: Sequence[Source],
    out: Path,
    *,
    watch: Watch,
    workers: int = 2,
    address: str | None = None,
    force: bool = False,
    retry_failed: bool = False,
) -> Summary:
    """As ``folder.run``, on ``workers`` processes.

    Args:
        make_job: makes the job, once in every worker; Ray sends it there (pickled, between its own processes).
        address: of a running cluster, or "auto"; None starts one on this machine, and stops it at the end.
        others: see ``folder.run``.

    Raises:
        UsageError: Ray is not installed, or no such cluster is there.
        OutputError: nothing can be written; other EditkitErrors: the job cannot be made.
    """
    if workers < 1:
        raise UsageError(f"at least one worker is needed, got {workers}")
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray: pip install ray; --engine local needs nothing")
    out = ensure_folder(out).resolve()
    sources = [source if source.path is None else replace(source, path=source.path.resolve()) for source in sources]
    with Manifest(out) as manifest:
        again = Again(manifest, force=force, failed=retry_failed)
        with _Cluster(address, workers) as cluster:
            summary = _Run(cluster, sources, out, manifest, watch).all(make_job, again)
        summary.page = write_page(out, manifest.records())
    return summary


class _Worker:
    """What runs in an actor: one job, made when it is first needed."""

    def __init__(self, make_job: Callable[[], Job], out: Path, again: Again) -> None:
        self._make, self._out, self._again = make_job, out, again
        self._job: Job | None = None

    def load(self) -> None:
        """Make the job. Raises what it raises."""
        if self._job is None:
            self._job = self._make()

    def work(self, source: Source) -> list[dict[str, Any]]:
        """The entries of one photo, one a face."""
        self._job = self._job or self._make()
        summary = folder.run(self._job, [source], self._out, watch=_Nobody(), again=self._again, page=False)
        return summary.photos


class _Nobody:
    """A watcher that does not look."""

    def begin(self, source: Source, index: int, total: int) -> None: ...
    def step(self, step: Step) -> object: ...
    def end(self, source: Source, entry: dict[str, Any]) -> None: ...


class _Cluster:
    """Ray, connected; stopped at the end if it was started here."""

    def __init__(self, address: str | None, workers: int) -> None:
        self._address, self.workers = address, workers

    def __enter__(self) -> _Cluster:
        import ray

        self.ray: Any = ray
        self._mine = not ray.is_initialized()
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
        if self._address is None:
            options |= {"num_cpus": self.workers, "include_dashboard": False, "object_store_memory": _STORE}
        try:
            if self._mine:
                ray.init(address=self._address, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"no Ray cluster at {self._address or 'this machine'}: {error}") from error
        return self

    def __exit__(self, *problem: object) -> None:
        if self._mine:
            self.ray.shutdown()

    def actor(self, *arguments: object) -> Any:
        """A worker; where the cluster has GPUs, with its share of them."""
        gpus = min(1.0, self.ray.cluster_resources().get("GPU", 0.0) / self.workers)
        return self.ray.remote(max_restarts=0, num_cpus=1, num_gpus=gpus)(_Worker).remote(*arguments)


class _Run:
    """Photos handed out to workers until none is left."""

    def __init__(
        self, cluster: _Cluster, sources: Sequence[Source], out: Path, manifest: Manifest, watch: Watch
    ) -> None:
        self.cluster, self.out, self.manifest, self.watch = cluster, out, manifest, watch
        self.waiting, self.total = deque(sources), len(sources)
        self.lost: dict[str, int] = {}
        self.done, self.summary = 0, Summary()

    def all(self, make_job: Callable[[], Job], again: Again) -> Summary:
        """Hand out every photo."""
        ray = self.cluster.ray
        actors = [self.cluster.actor(make_job, self.out, again) for _ in range(self.cluster.workers)]
        try:
            self._get(ray.get, [actor.load.remote() for actor in actors])  # a wrong generator is told at once
            idle = list(actors)
            running: dict[Any, tuple[Any, Source]] = {}
            while self.waiting or running:
                while self.waiting and idle:
                    actor, source = idle.pop(), self.waiting.popleft()
                    running[actor.work.remote(source)] = (actor, source)
                for ref in ray.wait(list(running), num_returns=1)[0]:
                    actor, source = running.pop(ref)
                    if not self._taken(ref, source):
                        actors.remove(actor)
                        actors.append(actor := self.cluster.actor(make_job, self.out, again))
                    idle.append(actor)
        except KeyboardInterrupt:
            self.summary.interrupted = True
        finally:
            for actor in actors:
                ray.kill(actor)
        return self.summary

    def _taken(self, ref: Any, source: Source) -> bool:
        """Keep the result of a photo, or see to another try of it; False: its worker is gone."""
        ray = self.cluster.ray
        there = True
        try:
            entries = self._get(ray.get, ref)
        except ray.exceptions.RayError as error:
            lost = self.lost[source.key] = self.lost.get(source.key, 0) + 1
            log.warning("%s: its worker was lost (%s)", source.name, type(error).__name__)
            if lost < TRIES:
                self.waiting.append(source)
                return False
            entries, there = [self._failed(source)], False
        for entry in entries:
            self.watch.begin(source, self.done, self.total)
            self.watch.end(source, entry)
        self.done += 1
        self.summary.photos += entries
        return there

    def _failed(self, source: Source) -> dict[str, Any]:
        """The entry of a photo that cost too many workers."""
        known = self.manifest.find(source.key)
        record = self.manifest.begin(
            source.key,
            name=source.name,
            stem=source.stem,
            settings=known.settings if known else "",
            fingerprint=source.fingerprint,
        )
        reason = f"its worker was lost {TRIES} times, as when memory runs out; try it alone, or with fewer workers"
        if record is None:  # somebody else works on it
            return {"photo": source.name, "status": "failed", "skipped": False, "error": reason}
        return entry_of(self.manifest.fail(record, reason, seconds=0.0), self.out)

    def _get(self, get: Callable[[Any], Any], refs: Any) -> Any:
        """What a worker returned; an error of ours is raised as it was there."""
        try:
            return get(refs)
        except self.cluster.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, EditkitError):
                raise error.cause from None
            raise
