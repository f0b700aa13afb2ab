"""Networks by name: `build`, the registry `NETWORKS`, and initial weights as a pure function of the seed.

The names below load torch on first use only, so that `prunebench.models.names` stays cheap to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunebench.models.initial import fresh_state, initialise_
    from prunebench.models.mobilenet import MobileNet
    from prunebench.models.networks import MLP, NETWORKS, VGG, CifarResNet, build

__all__ = ["MLP", "NETWORKS", "VGG", "CifarResNet", "MobileNet", "build", "fresh_state", "initialise_"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "initial" if name in ("fresh_state", "initialise_") else "networks"
    return getattr(import_module(f"{__name__}.{home}"), name)
