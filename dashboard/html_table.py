"""Dense tables of text: column titles, units beneath them, numbers in a fixed-width face."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column: its title, the text of a row, and how it looks.

    ``is_number`` sets it to the right in a fixed-width face; ``mark`` names a CSS class for the text of a row.
    """

    title: str
    text: Callable[[Row], str]
    is_number: bool = False
    mark: Callable[[Row], str] | None = None
    help: str = ""


def show(rows: Sequence[Row], columns: Sequence[Column], *, caption: str = "") -> None:
    """Put a table on the page, with a caption beneath it."""
    head = "".join(
        f'<th class="{_face(one)}" title="{escape(one.help, quote=True)}">{escape(one.title)}</th>' for one in columns
    )
    body = "".join("<tr>" + "".join(_cell(one, row) for one in columns) + "</tr>" for row in rows)
    below = f'<div class="sl-note">{escape(caption)}</div>' if caption else ""
    st.html(f'<table class="sl-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}')


def _cell(one: Column, row: Row) -> str:
    text = escape(one.text(row))
    mark = one.mark(row) if one.mark else ""
    return (
        f'<td class="{_face(one)}"><span class="{mark}">{text}</span></td>'
        if mark
        else (f'<td class="{_face(one)}">{text}</td>')
    )


def _face(one: Column) -> str:
    return "sl-number" if one.is_number else "sl-text"
