"""The service as a `PixelSource`: one request for each target, several at once, each answer checked."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from etl.cutouts.files import SHAPE, Pixels
from etl.cutouts.service.answer import read_answer
from etl.cutouts.service.asking import Answer, ask
from etl.cutouts.service.config import ServiceConfig
from etl.cutouts.service.errors import ServiceError
from etl.cutouts.source import Positions, Sliced, SourceFile, SourceKind, SourceVersion


@dataclass(frozen=True)
class _Got:
    """What became of one request: pixels and where they are from, or why there are none."""

    pixels: Pixels | None = None
    source: tuple[SourceVersion, ...] = ()
    failure: str | None = None


@dataclass(frozen=True)
class ServiceSource:
    """Cutouts of the survey's service. All sources of a process with one address and one rate keep to it together."""

    config: ServiceConfig

    @property
    def kind(self) -> SourceKind:
        """What `imaging.cutout.source` says of its cutouts."""
        return "service"

    def slice(self, positions: Positions) -> Sliced:
        """Ask for the cutouts of all targets of a brick.

        One that fails, after the attempts that the configuration allows, is named in `failures` with its address, and
        the others go on. The service tells nothing of seeing and depth.
        """
        n_targets = len(positions.ra)
        with ThreadPoolExecutor(max(1, min(self.config.n_threads, n_targets))) as threads:
            try:
                got = list(threads.map(self._one, positions.ra.tolist(), positions.dec.tolist()))
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        pixels = np.full((n_targets, *SHAPE), np.nan, np.float32)
        for index, one in enumerate(got):
            if one.pixels is not None:
                pixels[index] = one.pixels
        return Sliced(pixels, [one.source for one in got], [one.failure for one in got], conditions=None)

    def _one(self, ra: float, dec: float) -> _Got:
        url = self.config.url_of(ra, dec)

        def read(answer: Answer) -> _Got:
            pixels = read_answer(answer.body, ra, dec, self.config.layer)
            state = answer.etag or hashlib.sha256(answer.body).hexdigest()
            file = SourceFile(url, len(answer.body), state)
            return _Got(pixels, (SourceVersion("service", self.config.layer, url, state, (file,)),))

        try:
            return ask(self.config, url, read)
        except ServiceError as exc:
            return _Got(failure=f"{url}: {exc}")
