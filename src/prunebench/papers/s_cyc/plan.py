"""From the S-Cyc study's configuration to its jobs."""

from collections.abc import Iterator
from typing import Any

from prunebench.papers.s_cyc.config import SCyc
from prunebench.pruning.after import AfterPrune
from prunebench.pruning.amounts import density_after
from prunebench.pruning.criteria import get_criterion
from prunebench.runs.spec import Arm, Best, Choice, Init, Phase, RunSpec, Start, ToSparsity
from prunebench.schedules import Constant, Profile
from prunebench.suite.paper import Stage
from prunebench.suite.plan import DenseNetworks, DenseWish
from prunebench.suite.preset import Preset

ORACLE = "oracle"
"""The name of the grid search among schedules."""


def dense(config: SCyc, preset: Preset) -> Iterator[DenseWish]:
    """The dense networks that chains start from; a chain whose gradients are measured trains its own."""
    pruning = config.pruning
    for task, criterion, schedule in config.cells():
        if (task, criterion, schedule) not in config.measured():
            keep = (pruning.rewind_epoch,) if pruning.after is AfterPrune.REWIND_WEIGHTS else ()
            yield DenseWish(task, schedule, keep, get_criterion(criterion).needs_previous_weights)


def plan(config: SCyc, preset: Preset, networks: DenseNetworks) -> list[Stage]:
    """Every pruning chain, each once, and the oracle's search."""
    chains: list[RunSpec] = []
    measured: list[RunSpec] = []
    for task, criterion, schedule in config.cells():
        own = (task, criterion, schedule) in config.measured()
        for seed in preset.seeds:
            start = Init(kind="init") if own else networks.start(task, schedule, seed)
            folder = f"{'gradients' if own else 'chains'}/{task}/{criterion}/{schedule}"
            (measured if own else chains).append(_chain(config, preset, start, folder, task, criterion, schedule, seed))
    search, choices = _oracle(config, preset)
    return [
        Stage("search_max_lr", "s_cyc/oracle", tuple(search), "Oracle", priority=10),
        Stage(
            "select_max_lr",
            "s_cyc/choice",
            tuple(choices),
            "Oracle's choice",
            "prunebench.runs.select:select",
            10,
            True,
        ),
        Stage("measure_gradients", "s_cyc/gradients", tuple(measured), "Chain with gradients"),
        Stage("prune_chains", "s_cyc/chains", tuple(chains), "Chain"),
    ]


def _chain(
    config: SCyc, preset: Preset, start: Start, folder: str, task: str, criterion: str, schedule: str, seed: int
) -> RunSpec:
    entry = preset.schedules[schedule]
    measured = isinstance(start, Init)
    probes = [config.gradient_measure.probe()] if measured else []
    return RunSpec(
        folder=f"s_cyc/{folder}/seed-{seed}",
        **preset.task_fields(task, seed),
        include_norm=config.pruning.include_norm,
        axes={"criterion": criterion, "schedule": schedule},
        arms=[
            Arm(
                name="chain",
                start=start,
                phases=[
                    cycle_phase(config, preset, task, criterion, entry.profile, entry.policy.at(cycle), cycle, probes)
                    for cycle in range(0 if measured else 1, config.pruning.cycles + 1)
                ],
            )
        ],
    )


def cycle_phase(
    config: SCyc,
    preset: Preset,
    task: str,
    criterion: str,
    profile: Profile,
    max_lr: float,
    cycle: int,
    probes: list[Any],
) -> Phase:
    """One cycle: a prune (but in cycle 0), what becomes of the weights, and training."""
    pruning, training, after = config.pruning, preset.tasks[task].training, config.pruning.after
    dataset = preset.datasets[preset.tasks[task].dataset]
    begin = pruning.rewind_epoch if cycle > 0 and after.rewinds else 0
    if cycle > 0 and not after.restarts_lr:
        # Fine-tuning: the trained weights go on at the schedule's last LR (Renda et al. 2020).
        total = training.epochs * (dataset.train // training.batch_size)
        profile, max_lr = Constant(), profile.lr(total - 1, total, max_lr)
    prune = ToSparsity(
        kind="sparsity",
        criterion=criterion,
        sparsity=1 - density_after(pruning.rate, cycle),
        score_images=config.score_images(criterion),
        draw=cycle,
    )
    rewinds = after is AfterPrune.REWIND_WEIGHTS
    return Phase(
        axes={"cycle": cycle},
        prune=[prune] if cycle else [],
        rewind=begin if cycle and rewinds else None,
        reinitialise=cycle if cycle and after is AfterPrune.REINITIALISE else None,
        epochs=training.epochs - begin,
        profile=profile,
        max_lr=max_lr,
        first_epoch=begin,
        profile_epochs=training.epochs if begin else None,
        update=training.mover,
        order=cycle * training.epochs + begin,
        keep=[pruning.rewind_epoch] if rewinds and cycle == 0 else [],
        keep_previous=get_criterion(criterion).needs_previous_weights,
        probes=probes,
    )


def _oracle(config: SCyc, preset: Preset) -> tuple[list[RunSpec], list[Choice]]:
    """A job per seed, cycle and portion of the grid, and the choice after each cycle."""
    search: list[RunSpec] = []
    choices: list[Choice] = []
    oracle = config.oracle
    for seed in preset.seeds if oracle else ():
        assert oracle is not None
        where, start = f"{oracle.task}/{oracle.criterion}/seed-{seed}", None
        for cycle in range(config.pruning.cycles + 1):
            axes = {"criterion": oracle.criterion, "schedule": ORACLE, "cycle": cycle}
            jobs = [
                RunSpec(
                    folder=f"s_cyc/oracle/{where}/cycle-{cycle}/batch-{batch}",
                    **preset.task_fields(oracle.task, seed),
                    include_norm=config.pruning.include_norm,
                    axes=axes,
                    arms=[_candidate(config, preset, cycle, max_lr, start) for max_lr in portion],
                    hands_on="best",
                )
                for batch, portion in enumerate(oracle.batches())
            ]
            specs = [job.digest() for job in jobs]
            choice = Choice(
                folder=f"s_cyc/choice/{where}/cycle-{cycle}",
                among=[job.folder for job in jobs],
                specs=specs,
                seed=seed,
                task=oracle.task,
                axes=axes,
            )
            start = Best(kind="best", run=choice.folder, specs=specs)
            search, choices = [*search, *jobs], [*choices, choice]
    return search, choices


def _candidate(config: SCyc, preset: Preset, cycle: int, max_lr: float, start: Best | None) -> Arm:
    oracle = config.oracle
    assert oracle is not None
    profile = preset.schedules[oracle.schedule].profile
    return Arm(
        name=f"max_lr-{max_lr:g}",
        axes={"max_lr": max_lr},
        start=start or Init(kind="init"),
        phases=[cycle_phase(config, preset, oracle.task, oracle.criterion, profile, max_lr, cycle, [])],
    )
