"""Cascade weight shedding (Azarian and Porikli 2021, arXiv 2103.10629)."""

from prunebench.papers.cascade.config import Cascade, CascadeMargins
from prunebench.papers.cascade.plan import dense, plan
from prunebench.papers.cascade.tables import FIGURES, TABLES
from prunebench.suite.paper import Paper

PAPER = Paper(
    key="cascade",
    title="Cascade weight shedding",
    short="Cascade shedding",
    reference="Azarian and Porikli, 2021. Known here by its abstract alone, which gives no number",
    arxiv=(("arXiv 2103.10629", "2103.10629"),),
    package=__name__,
    config=Cascade,
    margins=CascadeMargins,
    dense=dense,
    plan=plan,
    read=".data:read",
    claims_ref=".claims:CLAIMS",
    asks={"B4": "criterion"},
    tables=TABLES,
    figures=FIGURES,
)
