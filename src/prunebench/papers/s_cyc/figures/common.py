"""What the figures of S-Cyc share."""

from prunebench.suite.report.style import (
    Look,
    Tables,
    pretty,
    schedule_looks,
)


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
    frame = tables["s_cyc_gradients"]
    return dict(zip(frame["task"], frame["activation"], strict=True)) if len(frame) else {}


def is_control(criterion: str) -> bool:
    return criterion == "random"


def criterion_text(name: str) -> str:
    return f"{pretty(name)} (control)" if is_control(name) else pretty(name)
