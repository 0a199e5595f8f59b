"""From nanomaggies to what the network sees; part of the model, and stored with it."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.errors import PreprocessingError

Pixels = npt.NDArray[np.float32]


class Preprocessing(BaseModel):
    """Crop, annulus and scaling of one model.

    Radii count from the object's pixel, which is pixel ``n // 2`` of the cutout and of the crop.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bands: Literal["grz"] = "grz"
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


def preprocess(pixels: npt.ArrayLike, rules: Preprocessing) -> Pixels:
    """Crop, then scale every band to (x - median) / MAD of its annulus, MAD without 1.4826.

    Pixels without data take no part in the statistics and become 0, the level of the sky; so does a whole band whose
    annulus holds no data or does not vary.

    Parameters
    ----------
    pixels
        Cutouts in nanomaggies, shape (n, cutout_px, cutout_px, 3), bands in the order of ``rules.bands``.

    Returns
    -------
    array
        Shape (n, 3, crop_px, crop_px), float32, in units of MAD.

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
    first = rules.cutout_px // 2 - rules.crop_px // 2
    window = slice(first, first + rules.crop_px)
    crop = np.moveaxis(given[:, window, window, :], -1, 1)
    crop = np.where(np.isfinite(crop), crop, np.float32(np.nan))

    ring = crop[:, :, rules.annulus()]
    median = _median_of_known(ring)
    mad = _median_of_known(np.abs(ring - median[..., None]))
    # Dividing by infinity gives the 0 of a band without usable statistics.
    scale = np.where(mad > 0, mad, np.float32(np.inf))
    scaled = (crop - median[..., None, None]) / scale[..., None, None]
    scaled = np.arcsinh(scaled) if rules.scaling == "asinh" else np.clip(scaled, -rules.clip_mads, rules.clip_mads)
    return np.ascontiguousarray(np.nan_to_num(scaled, nan=0.0), dtype=np.float32)


def _median_of_known(values: Pixels) -> Pixels:
    """Median over the last axis without NaN, NaN where nothing is known (nanmedian takes ten times as long)."""
    ordered = np.sort(values, axis=-1)  # NaN sort to the end
    n_known = np.count_nonzero(~np.isnan(values), axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(n_known - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, n_known // 2, axis=-1)
    middle: Pixels = (low + high)[..., 0] * np.float32(0.5)
    return middle
