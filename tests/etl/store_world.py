"""A store and the rows that say what is in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, insert

from db.models.imaging import Cutout, Pack, PackShard
from db.models.provenance import Artifact, Run
from db.models.sampling import DrawMember, SplitScheme
from db.models.training import Model
from tests.builders import insert_draw, insert_galaxies, insert_run


@dataclass
class World:
    """The files of a store by key, as they must be."""

    root: Path
    files: dict[str, bytes] = field(default_factory=dict)

    def write(self, key: str, data: bytes) -> dict[str, object]:
        """Put a file into the store; returns what a row says of it."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.files[key] = data
        return {"uri": f"store:{key}", "sha256": hashlib.sha256(data).hexdigest(), "n_bytes": len(data)}


def found_in(root: Path) -> dict[str, bytes]:
    """All files below a folder, whatever their names."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def record_cutouts(engine: Engine, world: World, n: int, n_bytes: int = 3000, version: str = "v1") -> int:
    """Negatives of a draw `d`, one file each of about `n_bytes` random bytes; returns the draw's key."""
    rng = np.random.default_rng(len(world.files))
    with engine.begin() as connection:
        ls_ids = insert_galaxies(connection, np.full(n, 10.0), np.full(n, 1.0)).tolist()
        draw_id, stratum_id = insert_draw(connection)
        member = {"draw_id": draw_id, "label": 0, "pool": "N1", "stratum_id": stratum_id, "weight": 1}
        member |= {"ra": 10.0, "dec": 1.0, "healpix_128": 1, "inclusion_probability": 0.5}
        connection.execute(insert(DrawMember), [member | {"ls_id": ls_id} for ls_id in ls_ids])
        common = {"survey": "dr10", "data_release": 10, "ra": 10.0, "dec": 1.0, "version": version, "bands": "grz"}
        common |= {"layer": "ls-dr10-south", "source": "coadd", "brickname": "0100p010", "n_pixels": 101}
        common |= {"pixel_scale_arcsec": 0.262, "nan_fraction": 0.0, "status": "ok", "run_id": insert_run(connection)}
        rows = []
        for number, ls_id in enumerate(ls_ids):
            data = rng.bytes(n_bytes + number % 7)
            file = world.write(f"cutouts/negatives/{version}/0100p010_{number}.npz", data)
            rows.append(common | file | {"ls_id": ls_id})
        connection.execute(insert(Cutout), rows)
    return draw_id


def record_model_and_pack(engine: Engine, world: World, draw_id: int, n_bytes: int = 50_000) -> None:
    """A model's checkpoint, the one of an earlier training under its name, and a pack of one shard."""
    rng = np.random.default_rng(7)
    shard = world.write("packs/d/default/shard-0.npy", rng.bytes(n_bytes))
    index = world.write("packs/d/default/index.parquet", rng.bytes(700))
    checkpoint = world.write("checkpoints/m.pt", rng.bytes(900))
    with engine.begin() as connection:
        run_id = insert_run(connection)
        config = connection.execute(Run.__table__.select().where(Run.run_id == run_id)).one().config_sha256
        scheme = {"name": "default", "nside": 128, "seed": 42, "train_below": 0.7, "val_below": 0.85}
        scheme_id = connection.scalar(
            insert(SplitScheme).values(**scheme, guard_arcsec=30, run_id=run_id).returning(SplitScheme.scheme_id)
        )
        connection.execute(
            insert(Model).values(
                name="m", survey="dr10", draw_id=draw_id, scheme_id=scheme_id, cutout_version="v1",
                architecture="resnet18", n_parameters=1, config_sha256=config, preprocessing={},
                manifest_sha256="0" * 64, n_train=1, n_val=1, status="succeeded", best_epoch=1,
                checkpoint_uri=checkpoint["uri"], checkpoint_sha256=checkpoint["sha256"], run_id=run_id,
            )
        )  # fmt: skip
        earlier = checkpoint | {"sha256": "0" * 64, "n_bytes": 5}
        for written in (earlier, checkpoint):
            connection.execute(insert(Artifact).values(**written, kind="checkpoint", run_id=run_id))
        pack_id = connection.scalar(
            insert(Pack)
            .values(
                draw_id=draw_id, scheme_id=scheme_id, version="v1", manifest_sha256="0" * 64, bands="grz", crop_px=64,
                dtype="float16", axis_order="cutout,y,x,band", format="npy", n_cutouts=1, shard_rows=1,
                status="complete", index_uri=index["uri"], index_sha256=index["sha256"],
                index_n_bytes=index["n_bytes"], run_id=run_id,
            )
            .returning(Pack.pack_id)
        )  # fmt: skip
        connection.execute(insert(PackShard).values(**shard, pack_id=pack_id, shard=0, first_row=0, n_rows=1))
