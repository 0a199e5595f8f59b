"""The gallery that every page of images shares: paging, a grid of thumbnails, captions and links to the sky."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import streamlit as st

from dashboard import numerals
from dashboard.images import Thumbnail, thumbnails
from db.settings import settings
from etl.cutouts.files import N_PIXELS, PIXEL_SCALE_ARCSEC

PER_PAGE = 48
SIZES = {"small": 112, "large": 190}
"""Least width of a tile in CSS pixels."""

VIEWER = "https://www.legacysurvey.org/viewer?ra={ra:.6f}&dec={dec:.6f}&layer=ls-dr10&zoom=16"


@dataclass(frozen=True)
class Tile:
    """One object of a gallery: where its pixels and its position are, and two lines under its rank and score."""

    uri: str | None
    ra: float
    dec: float
    rank: int
    score: float
    caption: str
    name: str
    tooltip: str
    badge: str = ""

    @property
    def viewer(self) -> str:
        """Address of the survey's sky viewer at the position."""
        return VIEWER.format(ra=self.ra, dec=self.dec)


def show(tiles: Sequence[Tile], *, summary: str, survey: str) -> None:
    """Show one page of the tiles, with the controls to go to the others.

    Parameters
    ----------
    tiles
        All tiles that can be paged through, in order.
    summary
        What they are, in words.
    survey
        Survey of the pixels: dr10 or mock.
    """
    line = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
    n_pages = max(1, -(-len(tiles) // PER_PAGE))
    with line:
        st.markdown(f"**{summary}**", width="content")
        size = st.segmented_control(
            "Tile size", list(SIZES), default="small", required=True, key="tiles", label_visibility="collapsed"
        )
        # Another list of tiles is another book: it opens at its first page.
        book = hashlib.sha256(repr([tile.uri for tile in tiles]).encode()).hexdigest()[:8]
        page = st.pagination(n_pages, key=f"page-{book}", width=300) if n_pages > 1 else 1
    here = tiles[(page - 1) * PER_PAGE : page * PER_PAGE]
    found = settings()
    images = thumbnails(found.store, found.s3_endpoint_url, tuple(tile.uri for tile in here))
    problems = [image.problem for image in images if image.problem]
    if problems:
        st.warning(f"{len(problems)} of {len(here)} cutouts cannot be shown. {problems[0]}")
    grid = "".join(_figure(tile, image) for tile, image in zip(here, images, strict=True))
    st.html(f'<div class="sl-gallery" style="--tile:{SIZES[size or "small"]}px">{grid}</div>')
    st.caption(_legend(survey))


def _figure(tile: Tile, image: Thumbnail) -> str:
    label = escape(f"rank {tile.rank}, {numerals.position(tile.ra, tile.dec)}", quote=True)
    if image.source:
        picture = f'<img src="{image.source}" alt="{label}" loading="lazy">'
    else:
        picture = f'<div class="sl-missing" title="{escape(image.problem or "", quote=True)}">no image</div>'
    badge = f'<span class="sl-badge">{escape(tile.badge)}</span>' if tile.badge else ""
    return (
        f'<a class="sl-tile" href="{escape(tile.viewer, quote=True)}" target="_blank" '
        f'title="{escape(tile.tooltip, quote=True)}">'
        f'<div class="sl-picture">{picture}{badge}</div>'
        f'<div class="sl-line"><span class="sl-rank">{tile.rank}</span><span>{tile.score:.4f}</span></div>'
        f'<div class="sl-line sl-faint">{escape(tile.caption)}</div>'
        f'<div class="sl-line sl-faint sl-name">{escape(tile.name)}</div></a>'
    )


def _legend(survey: str) -> str:
    side = N_PIXELS * PIXEL_SCALE_ARCSEC
    text = (
        f"Each tile: {side:.1f} arcsec on a side, north up, east left; red, green, blue = z, r, g (asinh); grey: no "
        "data. Under it: rank, score, and what it is. A click opens the survey's sky viewer at the position"
    )
    if survey == "mock":
        return text + ", which shows the real sky there, not the mock's galaxies."
    return text + "."
