"""The pixels of a manifest from its npz files: every file verified, many read at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

from etl.cutouts.files import read_pixels
from etl.errors import EtlError
from etl.storage import Store
from training.errors import ManifestError
from training.manifest import Manifest
from training.preprocess import Pixels, Preprocessing, preprocess
from training.progress import Progress, silent

_CHUNK = 64
_THREADS = 8  # most of them wait for the store


def load_images(manifest: Manifest, rules: Preprocessing, store: Store, progress: Progress = silent) -> Pixels:
    """Read and preprocess every cutout of a manifest, into memory.

    Returns
    -------
    array
        Shape (n, 3, crop_px, crop_px), float32, preprocessed, in the manifest's order: 49 kB a cutout at 64 px.

    Raises
    ------
    ManifestError
        When a file is missing, altered since it was made, or not a cutout.
    """
    images = np.empty((len(manifest), len(rules.bands), rules.crop_px, rules.crop_px), dtype=np.float32)

    def keep(first: int, pixels: Pixels) -> None:
        images[first : first + len(pixels)] = preprocess(pixels, rules)

    read_cutouts(manifest, store, keep, lambda done: progress("reading cutouts", done, len(manifest)))
    return images


def read_cutouts(
    manifest: Manifest, store: Store, use: Callable[[int, Pixels], None], on_read: Callable[[int], None]
) -> None:
    """Read every cutout of a manifest, a few at a time, in threads and in no order.

    Parameters
    ----------
    use
        Called in a thread with the first row of a chunk and its pixels, shape (k, 101, 101, 3).
    on_read
        Called with the number of cutouts that have been used.

    Raises
    ------
    ManifestError
        When a file is missing, altered since it was made, or not a cutout.
    """

    def read(first: int) -> int:
        chunk = manifest.rows(slice(first, first + _CHUNK))
        files = zip(chunk.uri.tolist(), chunk.sha256.tolist(), strict=True)
        use(first, np.stack([_verified(store, uri, sha256) for uri, sha256 in files]))
        return len(chunk)

    n_done = 0
    with ThreadPoolExecutor(_THREADS) as threads:
        chunks = [threads.submit(read, first) for first in range(0, len(manifest), _CHUNK)]
        try:
            for chunk in as_completed(chunks):
                n_done += chunk.result()
                on_read(n_done)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _verified(store: Store, uri: str, sha256: str) -> Pixels:
    try:
        data = store.get_bytes(uri)
    except EtlError as exc:
        raise ManifestError(f"cutout {uri} of the manifest: {exc}") from exc
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ManifestError(
            f"{uri}: altered since it was made (SHA-256 {found[:12]}, recorded {sha256[:12]}): restore the file, or "
            "make a new cutout version with `stronglens cutouts make`"
        )
    try:
        return read_pixels(data, uri)
    except EtlError as exc:
        raise ManifestError(f"cutout of the manifest: {exc}") from exc
