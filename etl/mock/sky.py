"""Render a whole mock sky into a folder, once."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from etl.mock.candidates import Candidates
from etl.mock.coadd import write_coadds
from etl.mock.config import SkyConfig
from etl.mock.contents import Contents, fill_patch
from etl.mock.errors import MockSkyError
from etl.mock.plan import Patch, plan_patches
from etl.mock.scene import Scene, render
from etl.mock.sweep import Rows, sweep_rows, write_sweeps

MANIFEST = "SKY.json"
TRUTH = "arcs_truth.csv"
_MARKER = "RENDERING.json"

Progress = Callable[[int, int], None]
Truth = dict[str, Any]


@dataclass(frozen=True)
class SkySummary:
    """What a mock sky holds; ``already_rendered`` when nothing had to be done."""

    out: Path
    seed: int
    config_sha256: str
    n_patches: int
    n_tier_a: int
    n_tier_b: int
    n_rows: int
    n_pool_galaxies: int
    n_sweep_files: int
    arcs: dict[str, dict[str, list[float]]]
    already_rendered: bool = False


def render_sky(candidates: Candidates, out: Path, config: SkyConfig, progress: Progress | None = None) -> SkySummary:
    """Render the mock sky around the candidates into the folder ``out``.

    The sky appears in ``out`` all at once, when it is complete; ``progress(done, total)`` is told of every patch. A
    complete sky of the same configuration and patches is left as it is.

    Raises
    ------
    MockSkyError
        When ``out`` holds something else, or no patch can be planned.
    """
    patches = plan_patches(candidates, config)
    if not patches:
        raise MockSkyError(
            "no candidate is left to render: n_tier_a and n_tier_b leave none, or dec_max_deg is too low"
        )
    digest = _sky_sha256(patches, config)
    done = _finished(out, digest)
    if done is not None:
        return done
    partial_out = _fresh_partial(out, digest)
    results = sorted(_rendered(patches, partial_out, config, progress), key=lambda result: result[0])
    rows = np.concatenate([result[1] for result in results])
    truths = [truth for result in results for truth in result[2]]
    summary = SkySummary(
        out=out,
        seed=config.seed,
        config_sha256=config.sha256(),
        n_patches=len(patches),
        n_tier_a=sum(truth["tier"] == "A" for truth in truths),
        n_tier_b=sum(truth["tier"] == "B" for truth in truths),
        n_rows=int(rows.size),
        n_pool_galaxies=sum(result[3] for result in results),
        n_sweep_files=write_sweeps(partial_out, rows),
        arcs=_arc_quantiles(truths),
    )
    _write_truth(partial_out / TRUTH, truths)
    body = {
        "survey": "mock",
        "sky_sha256": digest,
        "config": config.model_dump(mode="json"),
        "summary": {key: value for key, value in asdict(summary).items() if key not in {"out", "already_rendered"}},
    }
    (partial_out / MANIFEST).write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    (partial_out / _MARKER).unlink()
    partial_out.replace(out)
    return summary


def _sky_sha256(patches: list[Patch], config: SkyConfig) -> str:
    body = [config.sha256(), [asdict(patch) for patch in patches]]
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _finished(out: Path, digest: str) -> SkySummary | None:
    """The summary of a sky that is there already; None when ``out`` is free."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        body = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        there, summary = str(body["sky_sha256"]), dict(body["summary"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise MockSkyError(f"{out}: is there and is not a mock sky; give an empty or new folder with --out") from exc
    if there != digest:
        raise MockSkyError(
            f"{out}: holds a mock sky of another seed, configuration or candidate list ({there[:12]}, asked for "
            f"{digest[:12]}); remove it or give another --out"
        )
    return SkySummary(**(summary | {"out": out, "already_rendered": True}))


def _fresh_partial(out: Path, digest: str) -> Path:
    """An empty folder beside ``out``, marked as ours; a leftover of ours is cleared."""
    folder = out.with_name(out.name + ".partial")
    if folder.exists():
        if not (folder / _MARKER).is_file():
            raise MockSkyError(
                f"{folder}: is in the way and is not a half-rendered mock sky; move it or give another --out"
            )
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True)
        (folder / _MARKER).write_text(json.dumps({"survey": "mock", "sky_sha256": digest}) + "\n", encoding="utf-8")
    except OSError as exc:
        raise MockSkyError(f"{folder}: cannot be written ({exc.strerror}); give another --out") from exc
    return folder


_Result = tuple[int, Rows, list[Truth], int]


def _rendered(patches: list[Patch], root: Path, config: SkyConfig, progress: Progress | None) -> Iterator[_Result]:
    one = partial(render_patch, root=root, config=config)
    done = 0
    if config.workers == 1:
        for patch in patches:
            yield one(patch)
            done += 1
            if progress is not None:
                progress(done, len(patches))
        return
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as executor:
        pending = [executor.submit(one, patch) for patch in patches]
        try:
            for future in as_completed(pending):
                yield future.result()
                done += 1
                if progress is not None:
                    progress(done, len(patches))
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def render_patch(patch: Patch, root: Path, config: SkyConfig) -> _Result:
    """Render one brick, write its coadds, and return its id, sweep rows, truth and number of pool galaxies."""
    contents = fill_patch(patch, config)
    scene = render(contents, config)
    write_coadds(root, patch, scene)
    n_pool = int((~np.isin(contents.galaxies.role, ["lens", "companion", "faint", "star"])).sum())
    return patch.brickid, sweep_rows(contents, scene.invvar, config), _truth(contents, scene), n_pool


def _truth(contents: Contents, scene: Scene) -> list[Truth]:
    patch = contents.patch
    return [
        {
            "brickname": patch.brickname,
            "name": patch.lens_name[i],
            "tier": patch.lens_tier[i],
            "ra": patch.lens_ra[i],
            "dec": patch.lens_dec[i],
            "central_type": str(contents.galaxies.type[i]) if contents.catalogued[i] else "",
            "theta_e_arcsec": arc.theta_e,
            "lens_q": arc.lens_q,
            "shear": arc.shear,
            "source_mag_r": arc.source_mag["r"],
            "source_radius_arcsec": arc.source_radius,
            "magnification": truth.magnification,
            "lensed_mag_r": 22.5 - 2.5 * float(np.log10(truth.flux["r"])),
            **{f"arc_sn_{band}": value for band, value in truth.signal_to_noise.items()},
        }
        for i, (arc, truth) in enumerate(zip(contents.arcs, scene.arcs, strict=True))
    ]


def _write_truth(path: Path, truths: list[Truth]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(truths[0]))
        writer.writeheader()
        writer.writerows(truths)


def _arc_quantiles(truths: list[Truth]) -> dict[str, dict[str, list[float]]]:
    """10, 50 and 90 per cent quantiles of what was rendered, by tier."""
    shown = ("theta_e_arcsec", "source_mag_r", "lensed_mag_r", "magnification", "arc_sn_g", "arc_sn_r")
    table = {}
    for tier in sorted({str(truth["tier"]) for truth in truths}):
        values = {key: [truth[key] for truth in truths if truth["tier"] == tier] for key in shown}
        table[tier] = {key: np.quantile(value, (0.1, 0.5, 0.9)).round(3).tolist() for key, value in values.items()}
    return table
