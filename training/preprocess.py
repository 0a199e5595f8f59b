"""From nanomaggies to what the network sees; part of the model, and stored with it.

Pixels come from the cutout files, or from a pack that holds them cropped and rounded already. Rounding and cropping are
the first two steps in either case, so both give the same tensors, bit for bit.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.errors import PreprocessingError

Pixels = npt.NDArray[np.float32]
PixelType = Literal["float32", "float16"]
_SLAB = 32
"""Images that are sorted together: what is worked on stays in the processor's cache."""
LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


class Preprocessing(BaseModel):
    """Crop, annulus and scaling of one model.

    Radii count from the object's pixel, which is pixel ``n // 2`` of the cutout and of the crop. Pixels are rounded to
    ``pixel_dtype`` before anything else: float16 keeps 11 bits, a twentieth of a per cent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bands: Literal["grz"] = "grz"
    pixel_dtype: PixelType = "float32"
    cutout_px: int = Field(default=101, gt=0)
    crop_px: int = Field(default=64, gt=0)
    annulus_inner_px: float = Field(default=20.0, ge=0)
    annulus_outer_px: float = Field(default=32.0, gt=0)
    scaling: Literal["clip", "asinh"] = "clip"
    clip_mads: float = Field(default=10.0, gt=0, description="Values beyond +- this many MAD; not used by asinh")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.crop_px > self.cutout_px:
            raise ValueError(f"crop_px {self.crop_px} is larger than cutout_px {self.cutout_px}")
        if not self.annulus().any():
            raise ValueError(
                f"no pixel of a {self.crop_px} px crop lies between annulus_inner_px {self.annulus_inner_px} "
                f"and annulus_outer_px {self.annulus_outer_px}"
            )
        return self

    def annulus(self) -> npt.NDArray[np.bool_]:
        """Pixels of the crop whose statistics normalise it, shape (crop_px, crop_px); both radii belong to it."""
        offset = np.arange(self.crop_px) - self.crop_px // 2
        radius = np.hypot(offset[:, None], offset[None, :])
        return (radius >= self.annulus_inner_px) & (radius <= self.annulus_outer_px)


def rounded(pixels: Pixels, dtype: PixelType) -> npt.NDArray[np.floating]:
    """Pixels in another precision: brighter than float16 holds becomes its largest value, no data becomes NaN."""
    if dtype == "float32":
        return pixels
    held = np.clip(pixels, -LARGEST_FLOAT16, LARGEST_FLOAT16)
    held[~np.isfinite(pixels)] = np.nan
    return held.astype(np.float16)


def central(pixels: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.floating]:
    """Crop square images, shape (n, h, h, bands), to `size` pixels about the object's pixel; a view."""
    first = pixels.shape[1] // 2 - size // 2
    return pixels[:, first : first + size, first : first + size, :]


def preprocess(pixels: npt.ArrayLike, rules: Preprocessing) -> Pixels:
    """Round, crop, then scale every band to (x - median) / MAD of its annulus, MAD without 1.4826.

    Pixels without data take no part in the statistics and become 0, the level of the sky; so does a whole band whose
    annulus holds no data or does not vary.

    Parameters
    ----------
    pixels
        Cutouts in nanomaggies, shape (n, cutout_px, cutout_px, 3), bands in the order of ``rules.bands``.

    Returns
    -------
    array
        Shape (n, 3, crop_px, crop_px), float32, in units of MAD; bands last in memory, as networks take them.

    Raises
    ------
    PreprocessingError
        When the cutouts have another shape.
    """
    given = np.asarray(pixels, dtype=np.float32)
    expected = (rules.cutout_px, rules.cutout_px, len(rules.bands))
    if given.ndim != 4 or given.shape[1:] != expected:
        raise PreprocessingError(
            f"cutouts of shape {given.shape}: this preprocessing takes (n, {', '.join(map(str, expected))}); "
            "choose the cutout version that the model was trained on"
        )
    return preprocess_packed(rounded(central(given, rules.crop_px), rules.pixel_dtype), rules)


def preprocess_packed(pixels: npt.NDArray[np.floating], rules: Preprocessing) -> Pixels:
    """Do what is left of `preprocess` to pixels that a pack holds: rounded already, and cropped to some size.

    Parameters
    ----------
    pixels
        Shape (n, h, h, 3) with crop_px <= h, in nanomaggies, of the type ``rules.pixel_dtype``.

    Raises
    ------
    PreprocessingError
        When the crop is too small, or the type another one.
    """
    size = rules.crop_px
    if pixels.ndim != 4 or pixels.shape[1] != pixels.shape[2] or pixels.shape[1] < size or pixels.shape[3] != 3:
        raise PreprocessingError(f"packed pixels of shape {pixels.shape}: this preprocessing takes crops of {size} px")
    if pixels.dtype != np.dtype(rules.pixel_dtype):
        raise PreprocessingError(f"packed pixels of type {pixels.dtype}: this preprocessing takes {rules.pixel_dtype}")
    # Whoever asks only for rules is spared the import of torch.
    from training.scaling import scaled, tensor_of

    crop = central(pixels, size)
    median, scale = statistics(crop, rules)
    images: Pixels = scaled(tensor_of(crop), (tensor_of(median), tensor_of(scale)), rules).numpy()
    return images


def statistics(pixels: npt.NDArray[np.floating], rules: Preprocessing) -> tuple[Pixels, Pixels]:
    """Median and MAD of the annulus of every band, each of shape (n, 3).

    The MAD is infinite where the annulus holds no data or does not vary: dividing by it gives the 0 of such a band.

    Parameters
    ----------
    pixels
        Packed pixels, shape (n, crop_px, crop_px, 3).
    """
    annulus = np.flatnonzero(rules.annulus())
    median, scale = (np.empty((len(pixels), 3), np.float32) for _ in range(2))
    for first in range(0, len(pixels), _SLAB):
        slab = pixels[first : first + _SLAB]
        ring = slab.reshape(len(slab), -1, 3).take(annulus, axis=1).transpose(0, 2, 1)
        known = np.ascontiguousarray(ring, np.float32)
        known[~np.isfinite(known)] = np.nan
        middle = _median_of_known(known)
        mad = _median_of_known(np.abs(known - middle[..., None]))
        median[first : first + _SLAB] = middle
        scale[first : first + _SLAB] = np.where(mad > 0, mad, np.float32(np.inf))
    return median, scale


def _median_of_known(values: Pixels) -> Pixels:
    """Median over the last axis without NaN, NaN where nothing is known (nanmedian takes ten times as long)."""
    ordered = np.sort(values, axis=-1)  # NaN sort to the end
    n_known = np.count_nonzero(~np.isnan(values), axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(n_known - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, n_known // 2, axis=-1)
    middle: Pixels = (low + high)[..., 0] * np.float32(0.5)
    return middle
