"""Downloads a network of the catalogue, on request only."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from editkit.checkpoints.catalogue import PublishedNetwork
from editkit.checkpoints.fetch import Source, checksum, fetch
from editkit.errors import CheckpointError, UsageError


def download(
    network: PublishedNetwork,
    *,
    sha256: str | None = None,
    on_progress: Callable[[int, int | None], object] | None = None,
    timeout: float = 30.0,
    retries: int = 5,
) -> Path:
    """Fetch ``network`` into the cache folder, or find it there; returns its path.

    A download that was cut goes on where it ended. Several at once, by threads or processes, are safe.

    Args:
        sha256: of the file, 64 hex digits, where you know it; the catalogue's by default.
        on_progress, timeout, retries: as in ``fetch``.

    Raises:
        CheckpointError: it cannot be had, or is not that file; the message says what to put where by hand.
        OutputError: no space or no permission.
        UsageError: ``sha256`` is no checksum.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"a sha256 has 64 hexadecimal digits, got {sha256!r:.80}")
    if not network.url.startswith("https://"):
        raise CheckpointError(f"the address of {network.name} is not https: {network.url}; the catalogue is damaged")
    wanted = sha256 or network.sha256
    if network.at_hand:
        if wanted is not None and checksum(network.path) != wanted.lower():
            raise CheckpointError(f"{network.path} has another sha256 than {wanted}; remove it, then download it again")
        return network.path
    source = Source(
        url=network.url,
        sha256=wanted,
        hint=f"Run the command again to go on, or put the file there by hand: {network.path}",
    )
    return fetch(source, network.path, on_progress=on_progress, timeout=timeout, retries=retries)
