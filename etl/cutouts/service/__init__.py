"""The survey's cutout service as a source of pixels: asked politely, and every answer checked before it counts.

`limiter` keeps the pace, `asking` gets one answer over the network, `answer` checks it, `source` puts them together.
"""

from etl.cutouts.service.config import ServiceConfig
from etl.cutouts.service.source import ServiceSource

__all__ = ["ServiceConfig", "ServiceSource"]
