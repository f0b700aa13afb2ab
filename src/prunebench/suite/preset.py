"""A preset: one scale of the whole suite, from its YAML file to a checked model. Imports no torch.

The model is made from the registry when a preset is read: each paper adds its part and its margins. Who names a folder
in `papers` adds a paper, who names a file in `plugins` adds schedules, criteria, updates, networks.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, create_model, model_validator

from prunebench.errors import InputError, nearest
from prunebench.files import read_text
from prunebench.parsing import Label, Name, Strict, digest_of, distinct, flatten, known, parse, parse_yaml
from prunebench.pruning.criteria import CRITERIA
from prunebench.runs.plugins import load_plugins
from prunebench.schedules import Schedule
from prunebench.suite.asked import check_asked
from prunebench.suite.paper import Paper
from prunebench.suite.registry import papers
from prunebench.suite.tasks import Dataset, Longer, Resources, ScheduleConfig, Seed, Task

LARGEST = 1 << 18
"""Bytes of the largest file of a preset; the longest one here has a twentieth of them."""

ClaimId = Annotated[str, Field(pattern=r"^(all|[A-Z][0-9]+[a-z]?(:[A-Za-z0-9._-]+)?)$")]
"""A claim's identifier, `A3:my_schedule` for one that is asked of another method, or `all`."""


class Calibration(Strict):
    """The simulation that shows how often each rule errs."""

    tables: int = Field(default=10_000, ge=100)
    """Simulated tables per claim, number of seeds, noise and truth."""
    seeds: Annotated[list[Annotated[int, Field(ge=2)]], AfterValidator(distinct)] = Field(
        default=[3, 5, 10], min_length=1
    )
    """Numbers of training seeds that are simulated."""


class Asked(Strict):
    """A claim of a paper that is asked of another method, too: same rule, calibration and ledger."""

    like: Annotated[str, Field(pattern=r"^[A-Z][0-9]+[a-z]?$")]
    """The paper's claim."""
    method: str
    """The method: a schedule, a criterion or an update of the preset, as the claim is about one or the other."""


class Claims(Strict):
    """The ledger of claims: margins by paper, and which claims this scale cannot decide."""

    not_at_this_scale: dict[ClaimId, str] = {}
    """Claims that this preset measures but cannot decide, or `all`, each with the reason; their effects are shown,
    their verdict is *not run at this scale*."""
    calibration: Calibration = Calibration()
    """How the rules are tried on simulated tables."""
    ask: list[Asked] = []
    """Claims that are asked of other methods than their paper's."""


class Preset(Strict):
    """One scale of the whole suite."""

    preset: Name
    """The preset's name: its results lie in results/<preset>."""
    scale: Label
    """A label that every table and figure carries, such as `scaled-down: ...`."""
    raw_data: str | None = None
    """Folder that holds the raw data files; null takes an earlier download, the system's package, the mirror or a
    rootless package download. Where the files come from changes no result, so it reruns nothing."""
    papers: list[str] = []
    """Folders of papers from outside the package, relative to the working directory or to the workflow's folder."""
    plugins: list[str] = []
    """Python files of your own that register schedules, criteria, updates, networks or probes."""
    seeds: list[Seed] = Field(min_length=1, max_length=1000)
    """Training seeds. The same seed pairs runs across schedules and criteria: same initialisation, same data order."""
    datasets: dict[Name, Dataset]
    """Prepared data sets by name."""
    tasks: dict[Name, Task]
    """Tasks by name."""
    longer: dict[Name, Longer] = {}
    """By task, what its network reaches when it trains longer: it stands beside what it reaches here."""
    schedules: dict[Name, ScheduleConfig] = {}
    """LR schedules by name."""
    claims: Claims = Claims()
    """How claims are decided."""
    resources: Resources = Resources()
    """What one training job asks for."""

    @model_validator(mode="after")
    def _names_and_numbers_hold_together(self) -> Self:
        for name, task in self.tasks.items():
            known(f"tasks.{name}.dataset", task.dataset, self.datasets)
            data = self.datasets[task.dataset]
            if type(task.network).__name__.startswith("Torchvision") and data.source.channels != 3:
                raise InputError(f"tasks.{name}: torchvision's networks need colour images, these are grey")
            if task.training.batch_size > data.train:
                raise InputError(
                    f"tasks.{name}.training.batch_size is {task.training.batch_size}, "
                    f"more than the {data.train} training images of '{task.dataset}'"
                )
            for seed in task.seeds or ():
                if seed not in self.seeds:
                    raise InputError(f"tasks.{name}.seeds: {seed} is not among the preset's seeds, {self.seeds}")
        for name, longer in self.longer.items():
            known("longer", name, self.tasks)
            if longer.epochs <= (epochs := self.tasks[name].training.epochs):
                raise InputError(f"longer.{name}.epochs is {longer.epochs}, no more than the recipe's {epochs}")
        for name, config in self.schedules.items():
            if name == "oracle":
                raise InputError("schedules.oracle: 'oracle' is the grid search's own name; choose another")
            config.policy.at(0)
            for task_name in config.tasks:
                known(f"schedules.{name}.tasks", task_name, self.tasks)
        if len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"seeds holds a value twice: {self.seeds}")
        if not self.studies():
            raise InputError(f"no study: a preset needs one of {', '.join(self.all_papers())}")
        for _, study in self.studies().values():
            study.check(self)  # type: ignore[attr-defined]
        check_asked(self)
        return self

    def digest(self) -> str:
        """SHA-256 of `content` but for what changes no result: where raw data lie, and event files."""
        resources = self.resources.model_copy(update={"tensorboard": False})
        return digest_of(self.model_copy(update={"raw_data": None, "resources": resources}).content())

    def all_papers(self) -> dict[str, Paper]:
        """Every paper by key, those that the preset leaves out among them."""
        return papers(tuple(self.papers))

    def study(self, key: str) -> Any:
        """A paper's part of the preset; None where it is left out."""
        return getattr(self, key)

    def studies(self) -> dict[str, tuple[Paper, Strict]]:
        """The papers that the preset runs, each with its part, by key."""
        parts = {key: (paper, self.study(key)) for key, paper in self.all_papers().items()}
        return {key: (paper, part) for key, (paper, part) in parts.items() if part is not None}

    def margins(self, key: str) -> Any:
        """The margins of a paper's claims."""
        return getattr(self.claims, key)

    def methods(self, kind: str) -> list[str]:
        """The names that a claim about a schedule, criterion or update can be asked of."""
        if kind == "schedule":
            return [*self.schedules]
        if kind == "criterion":
            return [*CRITERIA]
        updates = (getattr(part, "updates", {}) for _, part in self.studies().values())
        return list(dict.fromkeys(name for named in updates for name in named))

    def schedule(self, task: str, name: str) -> Schedule:
        """A schedule as it is on a task."""
        return self.schedules[name].schedule(task)

    def seeds_of(self, task: str) -> list[int]:
        """The seeds of a task's runs."""
        wanted = self.tasks[task].seeds
        return [seed for seed in self.seeds if wanted is None or seed in wanted]

    def task_fields(self, task: str, seed: int) -> dict[str, Any]:
        """What the specs of all jobs on a task hold."""
        recipe = self.tasks[task]
        return {
            "task": task,
            "dataset": recipe.dataset,
            "network": recipe.network,
            "batch_size": recipe.training.batch_size,
            "precision": recipe.training.precision,
            "augmentation": recipe.augmentation,
            "seed": seed,
        }


@cache
def preset_model(extra: tuple[str, ...] = ()) -> type[Preset]:
    """The model of presets with the package's papers and these from outside."""
    known_papers = papers(extra)
    margins: dict[str, Any] = {
        key: (paper.margins, Field(default=paper.margins(), description=f"Margins of the claims of: {paper.title}."))
        for key, paper in known_papers.items()
    }
    claims = create_model("Claims", __base__=Claims, __doc__=Claims.__doc__, **margins)
    parts: dict[str, Any] = {
        key: (paper.config | None, Field(default=None, description=f"The study of: {paper.title}; null leaves it out."))
        for key, paper in known_papers.items()
    }
    parts["claims"] = (claims, Field(default=claims(), description="How claims are decided."))
    return create_model("Preset", __base__=Preset, __doc__=Preset.__doc__, **parts)


def load_preset(path: Path, overrides: Mapping[str, Any] | None = None) -> Preset:
    """Reads and validates a preset file; raises InputError with one line that names file, key and allowed values.

    `overrides` are laid over the file's values, key by key; Snakemake hands on `--config` that way.
    """
    path = Path(path)
    if not path.exists():
        presets = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise InputError(f"{path}: No such file or directory; {nearest(path.stem, presets)}")
    text = read_text(path, LARGEST)
    try:
        content = parse_yaml(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return parse_preset(_overlaid(content, overrides) if overrides else content, str(path))


def _overlaid(content: object, overrides: object) -> object:
    """Changes no mapping in place: a YAML alias is one object under several keys, an override means one of them."""
    if isinstance(overrides, Mapping):
        kept = content if isinstance(content, dict) else {}
        return kept | {key: _overlaid(kept.get(key), value) for key, value in overrides.items()}
    if isinstance(overrides, list):
        return [_overlaid(None, value) for value in overrides]
    return None if overrides == "null" else overrides  # below the first level, Snakemake leaves values as text


def parse_preset(content: object, where: str) -> Preset:
    """Validates a preset that has been read already; `where` begins the error message."""
    try:
        load_plugins(_paths(content, "plugins"))
        model = preset_model(_paths(content, "papers"))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return parse(model, content, where)


def _paths(content: object, key: str) -> tuple[str, ...]:
    """The paths under a key of unchecked content: empty where they are not a list of text, which `parse` then says."""
    paths = content.get(key) if isinstance(content, dict) else None
    return tuple(paths) if isinstance(paths, list) and all(isinstance(p, str) for p in paths) else ()


MOST_CHANGES = 10
"""Changed keys that are told one by one."""


def changes(plan: Path, preset: Preset) -> list[str]:
    """Lines that say which keys differ from an earlier plan.json of the same results; none where there is none."""
    try:
        before = json.loads(Path(plan).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    old = dict(flatten(before))
    new = dict(flatten(preset.model_dump(mode="json", exclude={"raw_data"})))
    lines = [f"  {key}: {json.dumps(old.get(key))} -> {json.dumps(new.get(key))}" for key in {**old, **new}]
    changed = [line for line, key in zip(lines, {**old, **new}, strict=True) if old.get(key) != new.get(key)]
    if len(changed) > MOST_CHANGES:
        changed = [*changed[:MOST_CHANGES], f"  and {len(changed) - MOST_CHANGES} more"]
    return [f"Changed since {plan} was written:", *changed] if changed else []
