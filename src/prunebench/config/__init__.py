"""The whole configuration: the one source of defaults, of every key's meaning and of the JSON schema.

A preset (config/<name>.yaml) says which studies run on which tasks; `Preset.jobs()` resolves it into the specs of
training jobs, each holding every number that its job depends on. Imports no torch: Snakemake reads this at each start.
"""

from prunebench.config.arms import Arm, Phase, RetrainSpec
from prunebench.config.cascade import Cascade
from prunebench.config.directional import (
    ConnectSpec,
    CurvatureSpec,
    Directional,
    OverheadSpec,
    ToySpec,
    TrajectoriesSpec,
    Trajectory,
)
from prunebench.config.parsing import parse
from prunebench.config.preset import Preset, load_preset, parse_preset
from prunebench.config.s_cyc import ChainSpec, Gradients, OracleSpec, Pruning, SCyc, oracle_folder
from prunebench.config.tasks import Augmentation, Dataset, DenseSpec, Network, RunSpec, Training

__all__ = [
    "Arm",
    "Augmentation",
    "Cascade",
    "ChainSpec",
    "ConnectSpec",
    "CurvatureSpec",
    "Dataset",
    "DenseSpec",
    "Directional",
    "Gradients",
    "Network",
    "OracleSpec",
    "OverheadSpec",
    "Phase",
    "Preset",
    "Pruning",
    "RetrainSpec",
    "RunSpec",
    "SCyc",
    "ToySpec",
    "Training",
    "TrajectoriesSpec",
    "Trajectory",
    "load_preset",
    "oracle_folder",
    "parse",
    "parse_preset",
]
