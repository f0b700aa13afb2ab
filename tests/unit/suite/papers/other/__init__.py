"""Another made-up paper, which presets of the tests leave out."""

from prunebench.parsing import Share, Strict
from prunebench.suite.paper import Paper


class Other(Strict):
    """The other study."""

    def check(self, preset):
        pass


class OtherMargins(Strict):
    """The margin of claim U1."""

    u1_gain: Share = 0.02
    """U1 needs more than this."""


PAPER = Paper(
    key="other",
    title="Other toys",
    short="Other",
    reference="Nobody, 2026",
    arxiv=(("arXiv 1111.11111", "1111.11111"), ("code", "1111.11112")),
    package=__name__,
    config=Other,
    margins=OtherMargins,
    plan=lambda config, preset, networks: [],
    read=lambda study: None,
    claims_ref=".claims:CLAIMS",
    tables=(),
    figures=(),
)
