"""Import torchvision where its compiled operators cannot load, as with a CPU-only torch.

At import torchvision 0.28 describes two detection operators, `nms` and `qnms`, that its missing extension should have
declared, and fails. Only after that failure are the two signatures declared here, without any kernel: calling one of
them still fails, as it should. The classification networks use neither.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from types import ModuleType

import torch

_SIGNATURES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_log = logging.getLogger(__name__)


@functools.cache
def torchvision_models() -> ModuleType:
    """Import ``torchvision.models``, declaring the two operators if, and only if, the import fails for lack of one."""
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError as exc:
        if "operator torchvision::" not in str(exc) or "does not exist" not in str(exc):
            raise
        _log.debug("torchvision's compiled operators do not load (%s): declaring their signatures", exc)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    _declare()
    return importlib.import_module("torchvision.models")


@functools.cache
def _declare() -> torch.library.Library:
    """Declare the signatures; the cache keeps the library, whose end would take them back."""
    # torch leaves both calls without annotations
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for signature in _SIGNATURES:
        library.define(signature)  # type: ignore[no-untyped-call]
    return library
