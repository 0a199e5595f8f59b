"""Which cutouts to make, and from what."""

from __future__ import annotations

from pydantic import Field

from db.config import NAME_PATTERN, StageConfig, load_config
from etl.cutouts.coadd import CoaddSource
from etl.cutouts.service import ServiceConfig, ServiceSource
from etl.cutouts.source import PixelSource, SourceKind
from etl.cutouts.targets import DrawRef
from etl.errors import CoaddError


class CutoutConfig(StageConfig):
    """Which cutouts to make, and from what."""

    draw: str = "default"
    source: SourceKind = Field(default="coadd", description="coadd (brick images) or service (the survey's)")
    coadds: str | None = Field(
        default=None, description="Folder, s3://bucket/prefix or https://host/path that holds coadd/AAA/<brick>/"
    )
    service: ServiceConfig = Field(default=ServiceConfig(), description="How the cutout service is asked")
    version: str = Field(default="v1", pattern=NAME_PATTERN, description="Version of the cutout set")
    held_out: bool = Field(
        default=False, description="Make those of the lenses that the draw holds out, instead of its members"
    )
    n_workers: int = Field(default=2, ge=1, le=256, description="Bricks cut at once")
    check_sources: bool = Field(
        default=False, description="Also look whether the coadds of what was cut before are as they were"
    )

    def with_service(self, **settings: object) -> CutoutConfig:
        """Return a copy in which the settings of the service that are not None are laid over its others.

        Raises
        ------
        ConfigError
            When one of them is refused.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        service = load_config(ServiceConfig, None, **self.service.model_dump() | given)
        return self.model_copy(update={"service": service})


def pixel_source(config: CutoutConfig, draw: DrawRef, endpoint_url: str | None) -> PixelSource:
    """Return the source of pixels that a configuration names.

    Raises
    ------
    CoaddError
        When there is no place of coadds, or it is no such place, or the service does not have the draw's layer.
    """
    if config.source == "service":
        if config.service.layer != draw.layer:
            raise CoaddError(
                f"draw '{draw.name}' is of layer {draw.layer}, the service is asked for {config.service.layer}: "
                "use --coadds"
            )
        return ServiceSource(config.service)
    if config.coadds is None:
        raise CoaddError("no place of coadds: give --coadds PLACE, or --source service")
    source = CoaddSource(config.coadds, endpoint_url)
    source.refuse_wrong_place()
    return source
