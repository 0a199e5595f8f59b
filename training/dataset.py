"""The pixels of a manifest, read once, verified and preprocessed, in memory."""

from __future__ import annotations

import hashlib
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
    """Read every cutout of a manifest.

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

    def load(first: int) -> int:
        chunk = manifest.rows(slice(first, first + _CHUNK))
        files = zip(chunk.uri.tolist(), chunk.sha256.tolist(), strict=True)
        pixels = [_verified(store, uri, sha256) for uri, sha256 in files]
        images[first : first + _CHUNK] = preprocess(np.stack(pixels), rules)
        return len(chunk)

    n_done = 0
    with ThreadPoolExecutor(_THREADS) as threads:
        chunks = [threads.submit(load, first) for first in range(0, len(manifest), _CHUNK)]
        try:
            for chunk in as_completed(chunks):
                n_done += chunk.result()
                progress("reading cutouts", n_done, len(manifest))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return images


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
