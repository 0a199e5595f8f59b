"""How the survey's cutout service is asked."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlencode

from pydantic import Field

from db.config import StageConfig
from etl.cutouts.files import BANDS, N_PIXELS, PIXEL_SCALE_ARCSEC


class ServiceConfig(StageConfig):
    """Where the service is, and how politely it is asked."""

    url: str = Field(
        default="https://www.legacysurvey.org/viewer/fits-cutout",
        pattern=r"^https?://[^\s?#]+$",
        description="Address of the service, without its query",
    )
    layer: Literal["ls-dr10-south"] = Field(default="ls-dr10-south", description="Imaging layer that is asked for")
    requests_per_s: float = Field(default=2.0, gt=0, le=1000, description="Requests a second, all threads together")
    n_threads: int = Field(default=4, ge=1, le=64, description="Requests under way at once")
    timeout_s: float = Field(default=60.0, gt=0, description="Time that one answer may take, connection included")
    n_attempts: int = Field(default=6, ge=1, le=100, description="How often one cutout is asked for in one run")
    first_wait_s: float = Field(default=1.0, ge=0, description="Longest wait before the second attempt; then doubled")
    longest_wait_s: float = Field(
        default=300.0, ge=0, description="No wait is longer, not even one that the service asks for by Retry-After"
    )

    def url_of(self, ra: float, dec: float) -> str:
        """Return the address of one cutout; ICRS degrees, written so that no digit is lost."""
        query = {
            "ra": repr(float(ra)),
            "dec": repr(float(dec)),
            "size": N_PIXELS,
            "layer": self.layer,
            "pixscale": PIXEL_SCALE_ARCSEC,
            "bands": BANDS,
        }
        return f"{self.url}?{urlencode(query)}"
