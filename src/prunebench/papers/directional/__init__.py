"""Directional pruning by gRDA (Chao, Wang, Xing and Cheng, NeurIPS 2020, arXiv 2006.09358)."""

from prunebench.papers.directional.config import Directional, DirectionalMargins
from prunebench.papers.directional.plan import plan
from prunebench.papers.directional.tables import FIGURES, TABLES
from prunebench.suite.paper import Paper

PAPER = Paper(
    key="directional",
    title="Directional pruning by gRDA",
    short="Directional pruning",
    reference="Chao, Wang, Xing and Cheng, NeurIPS 2020. "
    "Known here by its abstract and by the authors' code, data and logs",
    arxiv=(("arXiv 2006.09358", "2006.09358"),),
    package=__name__,
    config=Directional,
    margins=DirectionalMargins,
    plan=plan,
    read=".data:read",
    unpruned=".data:unpruned",
    claims_ref=".claims:CLAIMS",
    asks={"C2": "update", "C5": "update"},
    tables=TABLES,
    figures=FIGURES,
)
