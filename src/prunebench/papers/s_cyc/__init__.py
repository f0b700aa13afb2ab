"""S-Cyc, an LR schedule for iterative pruning (arXiv 2110.08764), and its successor SILO (arXiv 2212.06144)."""

from prunebench.papers.s_cyc.config import SCyc, SCycMargins
from prunebench.papers.s_cyc.plan import dense, plan
from prunebench.papers.s_cyc.tables import FIGURES, TABLES
from prunebench.suite.paper import Paper

PAPER = Paper(
    key="s_cyc",
    title="S-Cyc: a learning-rate schedule for iterative pruning",
    short="S-Cyc",
    reference="Known here by its abstract and by the released code of its successor SILO",
    arxiv=(("arXiv 2110.08764", "2110.08764"), ("SILO: arXiv 2212.06144", "2212.06144")),
    package=__name__,
    config=SCyc,
    margins=SCycMargins,
    dense=dense,
    plan=plan,
    read=".data:read",
    unpruned=".data:unpruned",
    claims_ref=".claims:CLAIMS",
    asks={"A3": "schedule", "A4": "schedule", "A7": "schedule"},
    tables=TABLES,
    figures=FIGURES,
)
