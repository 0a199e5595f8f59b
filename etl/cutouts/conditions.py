"""The depth for point sources, from a coadd's inverse variance and the size of its PSF."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from etl.cutouts.files import PIXEL_SCALE_ARCSEC

Floats = npt.NDArray[np.float64]

FWHM_PER_SIGMA = float(2 * np.sqrt(2 * np.log(2)))


def point_source_depth(invvar: Floats, psf_fwhm_arcsec: Floats) -> Floats:
    """Return the inverse variance of a point source's flux, nanomaggies^-2, as in the sweeps' PSFDEPTH.

    A flux that is fitted with its PSF P is as noisy as the sum over a noise-equivalent area of 1 / sum(P^2) pixels
    (King 1983, PASP 95, 163), for a Gaussian of sigma pixels 4 pi sigma^2. So the depth is invvar / (4 pi sigma^2).

    The survey sums invvar x sum(P^2) over its exposures, with their own PSFs. Those have wings that a Gaussian of the
    same FWHM has not, and a larger noise-equivalent area. This value is larger by the ratio of the areas: 1.25 to 1.67
    for Moffat profiles with beta of 6 to 3 (0.12 to 0.28 mag), alike for all objects under one PSF. So depths of coadds
    are compared with depths of coadds, not with those of sweeps.

    Parameters
    ----------
    invvar
        Inverse variance of one pixel, nanomaggies^-2.
    psf_fwhm_arcsec
        Full width at half maximum of the PSF; a value that is not positive gives NaN.
    """
    sigma_px = np.where(psf_fwhm_arcsec > 0, psf_fwhm_arcsec, np.nan) / FWHM_PER_SIGMA / PIXEL_SCALE_ARCSEC
    return np.asarray(invvar / (4 * np.pi * sigma_px**2), dtype=np.float64)
