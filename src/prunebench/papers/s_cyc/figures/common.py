"""What the figures of S-Cyc share: looks of schedules, words for criteria."""

from collections.abc import Mapping
from dataclasses import replace

from prunebench.suite.report.style import Look, Tables, pretty

# Okabe & Ito's colour-blind-safe colours: the method's vermillion and the oracle's black belong to no other role.
_ROLES = {
    "benchmark": (
        Look("", "", width=0.9),
        ("#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#999999", "#8C8C4A"),
        ("s", "^", "D", "v", "<", ">", "p"),
    ),
    "method": (Look("", "", width=2.0, size=5.0, order=4.0), ("#D55E00", "#8C3F00"), ("o", "h")),
    "control": (
        Look("", "", dash=(0, (4.0, 1.5)), width=1.2, size=4.5, order=3.0),
        ("#0072B2", "#6A3D9A", "#4D4D4D", "#00585C"),
        ("P", "X", "d", "H"),
    ),
    "oracle": (Look("", "", dash=(0, (1.0, 1.0)), width=1.3, size=6.0, order=3.5), ("#000000",), ("*",)),
}


def schedule_looks(roles: Mapping[str, str]) -> dict[str, Look]:
    """A look per schedule, by role and by the order within it; `roles` maps schedule to role."""
    looks = {}
    for role, (base, colors, markers) in _ROLES.items():
        names = [name for name, of_one in roles.items() if (of_one if of_one in _ROLES else "control") == role]
        for nth, name in enumerate(names):
            color, marker = colors[nth % len(colors)], markers[(nth + nth // len(colors)) % len(markers)]
            label = f"{pretty(name)} ({role})" if role != "oracle" else "oracle"
            looks[name] = replace(base, label=label, color=color, marker=marker)
    return looks


def looks_of_schedules(tables: Tables) -> dict[str, Look]:
    """One look per schedule for every figure: in the order of the configuration, which the LR table keeps."""
    roles: dict[str, str] = {}
    for name in ("s_cyc_lr_schedules", "s_cyc_accuracy"):
        frame = tables[name]
        if len(frame):
            roles |= dict(zip(frame["schedule"], frame["role"], strict=True))
    if len(tables["s_cyc_oracle"]):
        roles = dict.fromkeys(tables["s_cyc_oracle"]["schedule"], "method") | roles
    return schedule_looks(roles | {"oracle": "oracle"})


def activations(tables: Tables) -> dict[str, str]:
    """The activation of each task's network, where gradients were measured."""
    frame = tables["s_cyc_gradients"]
    return dict(zip(frame["task"], frame["activation"], strict=True)) if len(frame) else {}


def is_control(criterion: str) -> bool:
    """Whether a pruning criterion is a control: random pruning."""
    return criterion == "random"


def criterion_text(name: str) -> str:
    """A criterion's name in titles, which mark controls."""
    return f"{pretty(name)} (control)" if is_control(name) else pretty(name)
