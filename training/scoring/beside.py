"""Cutouts beside a model's draw: of pool galaxies, of other draws' negatives, of held-out lenses."""

from __future__ import annotations

from sqlalchemy import Engine, and_, case, exists, false, func, literal, select

from db.errors import MissingInputError
from db.models.catalog import Galaxy, Lens
from db.models.discovery import HeldOut
from db.models.imaging import Cutout, Quarantine
from db.models.sampling import DrawMember, SplitCell
from db.models.training import Model
from training.manifest import COLUMNS, Manifest, as_column


def beside_draw(engine: Engine, model: Model, *, only_held_out: bool) -> Manifest:
    """Read every usable cutout of the model's survey and version that is of no member of its draw, by cutout_id.

    `split` is that of the object's cell under the model's scheme, empty where the scheme has none. Members that a guard
    dropped from the manifest are members all the same: with a score they would be evaluated.

    Parameters
    ----------
    only_held_out
        Only those of lenses in `evaluation.held_out`.

    Raises
    ------
    MissingInputError
        When there is none.
    """
    cell = func.coalesce(Galaxy.healpix_128, Lens.healpix_128)
    of_draw = DrawMember.draw_id == model.draw_id
    columns = {
        "cutout_id": Cutout.cutout_id,
        "uri": Cutout.uri,
        "sha256": Cutout.sha256,
        "split": SplitCell.split,
        "label": case((Cutout.lens_id.is_(None), 0), else_=1),
        "weight": literal(1.0),
        "tier": literal(""),
        "best_letter_grade": literal(""),
        "is_calibration": func.coalesce(SplitCell.is_calibration, false()),
        "nobs_z": func.coalesce(Galaxy.nobs_z, Cutout.nexp_z),
        "psf_fwhm_z_arcsec": func.coalesce(Galaxy.psf_fwhm_z_arcsec, Cutout.psf_fwhm_z_arcsec),
    }
    wanted = (
        select(*(columns[name] for name in COLUMNS), Cutout.bands, Cutout.n_pixels)
        .select_from(Cutout)
        .outerjoin(Galaxy, Galaxy.ls_id == Cutout.ls_id)
        .outerjoin(Lens, Lens.lens_id == Cutout.lens_id)
        .outerjoin(SplitCell, and_(SplitCell.scheme_id == model.scheme_id, SplitCell.healpix_128 == cell))
        .where(
            Cutout.survey == model.survey,
            Cutout.version == model.cutout_version,
            Cutout.status != "rejected",
            ~exists().where(Quarantine.cutout_id == Cutout.cutout_id),
            ~exists().where(of_draw, DrawMember.label == 1, DrawMember.lens_id == Cutout.lens_id),
            ~exists().where(of_draw, DrawMember.label == 0, DrawMember.ls_id == Cutout.ls_id),
        )
        .order_by(Cutout.cutout_id)
    )
    if only_held_out:
        wanted = wanted.where(exists().where(HeldOut.draw_id == model.draw_id, HeldOut.lens_id == Cutout.lens_id))
    with engine.connect() as connection:
        found = connection.execute(wanted).all()
    if not found:
        raise MissingInputError(_why_none(model, only_held_out=only_held_out))
    *values, bands, n_pixels = zip(*found, strict=True)
    return Manifest(
        draw_id=model.draw_id,
        scheme_id=model.scheme_id,
        cutout_version=model.cutout_version,
        survey=model.survey,
        **{name: as_column(name, list(held)) for name, held in zip(COLUMNS, values, strict=True)},
        layouts=frozenset(zip(bands, n_pixels, strict=True)),
    )


def _why_none(model: Model, *, only_held_out: bool) -> str:
    if only_held_out:
        return (
            f"no held-out lens of model {model.name!r} has a cutout of version {model.cutout_version!r}: run "
            "`stronglens cutouts make --held-out` for its draw"
        )
    return (
        f"no cutout of version {model.cutout_version!r} lies beside the draw of model {model.name!r}: draw under "
        "another name and seed, then run `stronglens cutouts make` for that draw"
    )
