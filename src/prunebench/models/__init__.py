"""Networks by name: `build`, the registry `NETWORKS`, and initial weights as a pure function of the seed.

What needs torch is loaded on first use, so that the registry stays cheap to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from prunebench.models.kinds import NETWORKS, register_network

if TYPE_CHECKING:
    from prunebench.models.initial import fresh_state, initialise_
    from prunebench.models.mobilenet import MobileNet
    from prunebench.models.networks import MLP, VGG, CifarResNet, WideResNet, build
    from prunebench.models.weights import fitted_state

_HOMES = {
    "fresh_state": "initial",
    "initialise_": "initial",
    "MobileNet": "mobilenet",
    "fitted_state": "weights",
}

__all__ = [
    "MLP",
    "NETWORKS",
    "VGG",
    "CifarResNet",
    "MobileNet",
    "WideResNet",
    "build",
    "fitted_state",
    "fresh_state",
    "initialise_",
    "register_network",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'networks')}"), name)
