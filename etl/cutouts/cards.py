"""A few cards of a FITS header, without the hundreds of others that a coadd has."""

from __future__ import annotations

from collections.abc import Collection

CARD_BYTES = 80

_VALUE_AT = 10
_Value = str | float


def read_cards(header: bytes, names: Collection[str]) -> dict[str, _Value]:
    """Return the values of the named cards that are there; text without its quotes, numbers as floats.

    Raises
    ------
    ValueError
        When one of them has no value that can be read.
    """
    wanted = {name.ljust(8).encode("ascii"): name for name in names}
    found: dict[str, _Value] = {}
    for start in range(0, len(header), CARD_BYTES):
        name = wanted.get(header[start : start + 8])
        if name is not None and header[start + 8 : start + _VALUE_AT] == b"= ":
            found[name] = _value(name, header[start + _VALUE_AT : start + CARD_BYTES].decode("ascii", "replace"))
    return found


def _value(name: str, text: str) -> _Value:
    text = text.strip()
    if text.startswith("'"):
        return text[1:].partition("'")[0].rstrip()
    try:
        return float(text.partition("/")[0].strip().replace("D", "E"))
    except ValueError as exc:
        raise ValueError(f"{name} is {text!r}") from exc
