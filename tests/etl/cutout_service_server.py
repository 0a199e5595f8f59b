"""A cutout service on this machine: real HTTP, FITS answers in the form of the survey's viewer, faults on request."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

N = 101
SCALE_DEG = 0.262 / 3600


@dataclass
class Reply:
    """What the server does with one request; by default the body as a whole answer."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None  # send so many bytes of the body, and hang up
    wait_s: float = 0.0  # before anything
    drip_s: float = 0.0  # between pieces of the body
    reset: bool = False  # break the connection instead of an answer


@dataclass
class Asked:
    """One request: its query, when it came, and how often its position was asked for before."""

    query: dict[str, str]
    at: float
    n_before: int


Script = Callable[[Asked], Reply]


@dataclass
class CutoutService:
    """The running server."""

    url: str
    asked: list[Asked]


@contextmanager
def cutout_service(script: Script) -> Iterator[CutoutService]:
    """Serve what `script` says until the end of the context."""
    asked: list[Asked] = []
    lock, is_over = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            now = time.monotonic()
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            with lock:
                n_before = sum((one.query["ra"], one.query["dec"]) == (query["ra"], query["dec"]) for one in asked)
                asked.append(Asked(query, now, n_before))
                mine = asked[-1]
            reply = script(mine)
            is_over.wait(reply.wait_s)
            if reply.reset:
                linger = struct.pack("ii", 1, 0)  # a reset, not an orderly end
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            body = reply.body if reply.sent is None else reply.body[: reply.sent]
            step = len(body) // 50 + 1 if reply.drip_s else max(1, len(body))
            for first in range(0, len(body), step):
                self.wfile.write(body[first : first + step])
                if reply.drip_s and is_over.wait(reply.drip_s):
                    break
            self.close_connection = reply.sent is not None

        def handle(self) -> None:
            with suppress(OSError, ValueError):  # the client went away, or we did
                super().handle()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield CutoutService(f"http://127.0.0.1:{server.server_port}/viewer/fits-cutout", asked)
    finally:
        is_over.set()
        server.shutdown()
        server.server_close()


def target_wcs(ra: float, dec: float, n: int = N) -> WCS:
    """The projection of an answer: TAN about the position, north up, the position on the central pixel."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(n + 1) / 2, (n + 1) / 2]
    wcs.wcs.cd = np.diag([-SCALE_DEG, SCALE_DEG])
    return wcs


def answer(cube: np.ndarray, ra: float, dec: float, **cards: Any) -> bytes:
    """A FITS file as the viewer writes one: bands first; `cards` replace its header's, None takes one out."""
    header = fits.Header()
    values: dict[str, Any] = {"SURVEY": "DECaLS", "VERSION": "DR10-south", "IMAGETYP": "IMAGE", "BANDS": "grz"}
    values |= {f"BAND{number}": band for number, band in enumerate("grz")}
    values |= {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec, "CRPIX1": 51.0, "CRPIX2": 51.0}
    values |= {"CD1_1": -SCALE_DEG, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": SCALE_DEG, "IMAGEW": N, "IMAGEH": N}
    for name, value in (values | cards).items():
        if value is not None:
            header[name] = value
    out = io.BytesIO()
    fits.PrimaryHDU(cube, header).writeto(out)
    return out.getvalue()


def resampled(image: np.ndarray, brick: WCS, ra: float, dec: float) -> np.ndarray:
    """A brick's image on the grid of an answer, interpolated with Lanczos 3; 0 where the brick has no pixel."""
    y, x = np.mgrid[:N, :N]
    sky = target_wcs(ra, dec).all_pix2world(x.ravel(), y.ravel(), 0)
    bx, by = brick.all_world2pix(*sky, 0)
    x0, y0 = np.floor(bx + 0.5).astype(int), np.floor(by + 0.5).astype(int)
    total, weight = np.zeros(N * N), np.zeros(N * N)
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            xi, yi = x0 + dx, y0 + dy
            is_in = (xi >= 0) & (xi < image.shape[1]) & (yi >= 0) & (yi < image.shape[0])
            w = _lanczos3(bx - xi) * _lanczos3(by - yi) * is_in
            total += w * image[np.where(is_in, yi, 0), np.where(is_in, xi, 0)]
            weight += w
    is_in = (x0 >= 0) & (x0 < image.shape[1]) & (y0 >= 0) & (y0 < image.shape[0])
    return np.where(is_in, total / np.where(is_in, weight, 1), 0).reshape(N, N).astype(np.float32)


def _lanczos3(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
