"""torchvision beside a torch that it was not built for.

PyPI's torchvision wheel for Linux is linked to CUDA. Beside a CPU-only torch its compiled operators cannot
load, and `import torchvision` stops with "operator torchvision::nms does not exist", although the data
sets, transforms and models, which is all that prunebench uses, need none of them. Declaring the missing
operators' schemas is enough.
"""

import importlib
import sys
from types import ModuleType

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# Operators last as long as the Library object that declared them.
_keep_alive: list[object] = []


def import_torchvision() -> ModuleType:
    """The torchvision module: a plain import where that works, else with its missing operators declared.

    Use this in place of `import torchvision`; submodules (`torchvision.models`,
    `torchvision.transforms.v2`) import as usual afterwards. Raises whatever the plain import raises for any
    other reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    import torch

    # The failed import leaves submodules behind that refer to a package object which is gone.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    # A fragment, unlike a definition, may sit beside another declaration of the namespace.
    library = torch.library.Library("torchvision", "FRAGMENT")
    _keep_alive.append(library)
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.split("(")[0]):
            library.define(schema)
    return importlib.import_module("torchvision")
