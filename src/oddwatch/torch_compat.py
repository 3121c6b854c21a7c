"""torchvision beside a CPU build of torch.

torchvision's wheels are built against CUDA. Beside a torch without it their compiled operators do not load, and the
import fails with "operator torchvision::nms does not exist", although video models need none of them.
"""

from __future__ import annotations

import sys
from typing import Any

from oddwatch.errors import MissingExtraError

_libraries: list[Any] = []  # what is defined lives as long as its library


def import_torchvision() -> Any:
    """The module torchvision, with the schemas of the missing operators declared where a plain import fails.

    Raises MissingExtraError without torch or torchvision, and what the import raised where the remedy does not help.
    """
    try:
        from torch import library
    except ImportError as error:
        raise MissingExtraError("this backbone", "torch", "backbones") from error
    try:
        import torchvision
    except ModuleNotFoundError as error:
        raise MissingExtraError("this backbone", "torchvision", "backbones") from error
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or _libraries:
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        schemas: Any = library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _libraries.append(schemas)
        import torchvision
    return torchvision
