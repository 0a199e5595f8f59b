"""What a source of pixels gives for the targets of one brick, whoever it is: brick coadds or the cutout service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from etl.cutouts.files import Pixels

SourceKind = Literal["coadd", "service"]


@dataclass(frozen=True)
class Positions:
    """Centres of the targets of one brick, ICRS degrees, shape (n,) each."""

    brickname: str
    ra: npt.NDArray[np.float64]
    dec: npt.NDArray[np.float64]


@dataclass(frozen=True)
class SourceFile:
    """One file that pixels came from; `version` is its ETag or, for a local file, size and time of change."""

    uri: str
    n_bytes: int
    version: str


@dataclass(frozen=True)
class SourceVersion:
    """What pixels came from, in the state that it was in: a brick's coadds, or one answer of the service.

    `version` is one word for the state of all `files`: it changes when any of them does.
    """

    kind: SourceKind
    name: str
    uri: str
    version: str
    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class Conditions:
    """What a source knows of the observing conditions at the targets, per band g, r, z; NaN where it does not.

    Shape (n, 3): FWHM of the PSF in arcsec; inverse variance of a point source's flux, nanomaggies^-2, as in the
    sweeps' PSFDEPTH; number of exposures.
    """

    psf_fwhm_arcsec: npt.NDArray[np.float64]
    psfdepth: npt.NDArray[np.float64]
    n_exposures: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sliced:
    """What a source gave for the targets of one brick.

    `pixels` (n, 101, 101, 3) float32, nanomaggies, NaN where there is no data; `sources` names, for each target, all
    that its pixels came from; `failures` says, for each target, why it could not be had this time (None: it could).
    """

    pixels: Pixels
    sources: Sequence[tuple[SourceVersion, ...]]
    failures: Sequence[str | None]
    conditions: Conditions | None


class PixelSource(Protocol):
    """A source of pixels; it may be sent to another process."""

    @property
    def kind(self) -> SourceKind:
        """What `imaging.cutout.source` says of its cutouts."""

    def slice(self, positions: Positions) -> Sliced:
        """Give the pixels around all targets of one brick.

        Raises
        ------
        CoaddError
            When nothing can be had of this brick; the message is one line.
        StorageError
            When the place that the pixels lie in refuses.
        """
