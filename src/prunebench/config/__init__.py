"""The whole configuration: the one source of defaults, of every key's meaning and of the JSON schema.

A preset (config/<name>.yaml) says which studies run on which tasks; `Preset.jobs()` resolves it into the specs of
training jobs, each holding every number that its job depends on. Imports no torch: Snakemake reads this at each start.
"""

from prunebench.config.arms import Arm, Phase, RetrainSpec
from prunebench.config.cascade import Cascade
from prunebench.config.parsing import parse
from prunebench.config.preset import Preset, load_preset, parse_preset
from prunebench.config.s_cyc import ChainSpec, Gradients, OracleSpec, Pruning, SCyc, oracle_folder
from prunebench.config.tasks import Augmentation, Dataset, DenseSpec, Network, RunSpec, Training

__all__ = [
    "Arm",
    "Augmentation",
    "Cascade",
    "ChainSpec",
    "Dataset",
    "DenseSpec",
    "Gradients",
    "Network",
    "OracleSpec",
    "Phase",
    "Preset",
    "Pruning",
    "RetrainSpec",
    "RunSpec",
    "SCyc",
    "Training",
    "load_preset",
    "oracle_folder",
    "parse",
    "parse_preset",
]
