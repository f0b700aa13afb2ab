"""From the S-Cyc study's configuration to its jobs."""

from collections.abc import Iterator

from prunebench.papers.s_cyc.config import Cell, SCyc
from prunebench.pruning.after import AfterPrune
from prunebench.pruning.amounts import density_after
from prunebench.pruning.criteria import get_criterion
from prunebench.runs.probes import Defects, Probe
from prunebench.runs.spec import Arm, Best, Choice, Init, Phase, RunSpec, Start, ToSparsity
from prunebench.schedules import Constant
from prunebench.suite.paper import Stage
from prunebench.suite.plan import DenseNetworks, DenseWish
from prunebench.suite.preset import Preset

ORACLE = "oracle"
"""The name of the grid search among schedules."""


def dense(config: SCyc, preset: Preset) -> Iterator[DenseWish]:
    """The dense networks that chains start from; a chain whose gradients are measured trains its own."""
    keep = (config.pruning.rewind_epoch,) if config.pruning.after is AfterPrune.REWIND_WEIGHTS else ()
    measured = config.measured()
    for cell in config.cells():
        if cell not in measured:
            yield DenseWish(cell.task, cell.schedule, keep, get_criterion(cell.criterion).needs_previous_weights)


def plan(config: SCyc, preset: Preset, networks: DenseNetworks) -> list[Stage]:
    """Every pruning chain, each once, the oracle's search, chains that defects are measured on, and those of timing."""
    measured = config.measured()
    chains: dict[bool, list[RunSpec]] = {True: [], False: []}
    for cell in config.cells():
        probes = [config.gradient_measure.probe()] if cell in measured else []
        phases = _cycles(config, preset, cell, *probes)
        for seed in preset.seeds_of(cell.task):
            start = Init(kind="init") if cell in measured else networks.start(cell.task, cell.schedule, seed)
            chains[cell in measured].append(_chain(config, preset, cell, seed, start, phases))
    search, choices = _oracle(config, preset)
    select = "prunebench.runs.select:select"
    return [
        Stage("search_max_lr", "s_cyc/oracle", tuple(search), "Oracle", priority=10),
        Stage("select_max_lr", "s_cyc/choice", tuple(choices), "Oracle's choice", select, priority=10, local=True),
        Stage("measure_gradients", "s_cyc/gradients", tuple(chains[True]), "Chain with gradients"),
        Stage("prune_chains", "s_cyc/chains", tuple(chains[False]), "Chain"),
        Stage("measure_defects", "s_cyc/released", tuple(_released(config, preset)), "Chain with the scripts' defects"),
        Stage("time_schedules", "s_cyc/timing", tuple(_timed(config, preset)), "Timing", part="timing", alone=True),
    ]


def _chain(config: SCyc, preset: Preset, cell: Cell, seed: int, start: Start, phases: list[Phase]) -> RunSpec:
    """The cycles of one chain; one that starts from the initialisation is measured and begins with the dense cycle."""
    measured = isinstance(start, Init)
    return RunSpec(
        folder=f"s_cyc/{'gradients' if measured else 'chains'}/{'/'.join(cell)}/seed-{seed}",
        **preset.task_fields(cell.task, seed),
        include_norm=config.pruning.include_norm,
        axes={"criterion": cell.criterion, "schedule": cell.schedule},
        arms=[Arm(name="chain", start=start, phases=phases if measured else phases[1:])],
    )


def _cycles(config: SCyc, preset: Preset, cell: Cell, *probes: Probe) -> list[Phase]:
    """Every cycle under the cell's schedule, the dense one first, watched by probes."""
    policy = preset.schedule(cell.task, cell.schedule).policy
    phases = [cycle_phase(config, preset, cell, cycle, policy.at(cycle)) for cycle in range(config.pruning.cycles + 1)]
    return [phase.model_copy(update={"probes": [*probes]}) for phase in phases]


def _released(config: SCyc, preset: Preset) -> Iterator[RunSpec]:
    """A chain per seed on both tasks and under both schedules, from the initialisation on."""
    for cell in config.released.cells() if config.released else ():
        phases = _cycles(config, preset, cell, Defects())
        for seed in preset.seeds_of(cell.task):
            yield RunSpec(
                folder=f"s_cyc/released/{'/'.join(cell)}/seed-{seed}",
                **preset.task_fields(cell.task, seed),
                include_norm=True,
                axes={"criterion": cell.criterion, "schedule": cell.schedule},
                arms=[Arm(name="chain", phases=phases)],
            )


def _timed(config: SCyc, preset: Preset) -> Iterator[RunSpec]:
    """One job: block 0 warms up; in each other the schedule's chain runs before and after two of the reference's, so
    that a machine which slows down steadily favours neither. Of seed 0: it repeats over blocks, whichever seeds are."""
    timing = config.timing
    if timing is None:
        return
    own, reference = timing.cells()
    cycles = {
        cell: [_shortened(phase, timing.epochs) for phase in _cycles(config, preset, cell)] for cell in timing.cells()
    }
    yield RunSpec(
        folder=f"s_cyc/timing/{timing.task}/{timing.criterion}",
        **preset.task_fields(timing.task, 0),
        include_norm=config.pruning.include_norm,
        axes={"criterion": timing.criterion},
        arms=[
            Arm(
                name=f"block-{block}-{place}-{cell.schedule}",
                axes={"block": block, "schedule": cell.schedule},
                phases=cycles[cell],
            )
            for block in range(timing.blocks + 1)
            for place, cell in enumerate([own, reference, reference, own] if block else [own, reference])
        ],
    )


def _shortened(phase: Phase, epochs: int) -> Phase:
    return phase.model_copy(update={"epochs": min(epochs, phase.epochs)})


def cycle_phase(config: SCyc, preset: Preset, cell: Cell, cycle: int, max_lr: float) -> Phase:
    """One cycle: a prune (but in cycle 0), what becomes of the weights, and training."""
    pruning, after, task = config.pruning, config.pruning.after, preset.tasks[cell.task]
    epochs, profile = task.training.epochs, preset.schedule(cell.task, cell.schedule).profile
    begin = pruning.rewind_epoch if cycle and after.rewinds else 0
    if cycle and not after.restarts_lr:
        # Fine-tuning: the trained weights go on at the schedule's last LR (Renda et al. 2020).
        total = epochs * (preset.datasets[task.dataset].train // task.training.batch_size)
        profile, max_lr = Constant(), profile.lr(total - 1, total, max_lr)
    prune = ToSparsity(
        kind="sparsity",
        criterion=cell.criterion,
        sparsity=1 - density_after(pruning.rate, cycle),
        score_images=config.score_images(cell.criterion),
        draw=cycle,
    )
    rewinds_weights = after is AfterPrune.REWIND_WEIGHTS
    return Phase(
        axes={"cycle": cycle},
        prune=[prune] if cycle else [],
        rewind=begin if cycle and rewinds_weights else None,
        reinitialise=cycle if cycle and after is AfterPrune.REINITIALISE else None,
        epochs=epochs - begin,
        profile=profile,
        max_lr=max_lr,
        first_epoch=begin,
        profile_epochs=epochs if begin else None,
        update=task.training.mover,
        order=cycle * epochs + begin,
        keep=[pruning.rewind_epoch] if rewinds_weights and not cycle else [],
        keep_previous=get_criterion(cell.criterion).needs_previous_weights,
    )


def _oracle(config: SCyc, preset: Preset) -> tuple[list[RunSpec], list[Choice]]:
    """A job per seed, cycle and portion of the grid, and a choice after each cycle, where the next one starts."""
    search: list[RunSpec] = []
    choices: list[Choice] = []
    oracle = config.oracle
    if oracle is None:
        return search, choices
    cell = Cell(oracle.task, oracle.criterion, oracle.schedule)
    cycles = range(config.pruning.cycles + 1)
    grid = [max_lr for portion in oracle.batches() for max_lr in portion]
    phases = {(cycle, lr): cycle_phase(config, preset, cell, cycle, lr) for cycle in cycles for lr in grid}
    for seed in preset.seeds_of(oracle.task):
        where = f"{oracle.task}/{oracle.criterion}/seed-{seed}"
        start: Start = Init(kind="init")
        for cycle in cycles:
            axes = {"criterion": oracle.criterion, "schedule": ORACLE, "cycle": cycle}
            jobs = [
                RunSpec(
                    folder=f"s_cyc/oracle/{where}/cycle-{cycle}/batch-{batch}",
                    **preset.task_fields(oracle.task, seed),
                    include_norm=config.pruning.include_norm,
                    axes=axes,
                    arms=[
                        Arm(
                            name=f"max_lr-{max_lr:g}",
                            axes={"max_lr": max_lr},
                            start=start,
                            phases=[phases[cycle, max_lr]],
                        )
                        for max_lr in portion
                    ],
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
            search += jobs
            choices.append(choice)
    return search, choices
