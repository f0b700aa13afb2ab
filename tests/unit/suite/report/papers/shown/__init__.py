"""A made-up paper for the tests of tables, figures, captions and the page: it trains nothing."""

from prunebench.parsing import Share, Strict
from prunebench.suite.paper import Column, Figure, Paper, Table

SCHEDULE = Column("schedule", "schedule of the preset", "name")


class Shown(Strict):
    """The shown study."""

    def check(self, preset):
        pass


class ShownMargins(Strict):
    """Margins of claims S1 to S4."""

    s1_gain: Share = 0.01
    """S1 needs more than this."""


PAPER = Paper(
    key="shown",
    title="Papers are shown",
    short="Shown",
    reference="Nobody & Everybody, 2026",
    arxiv=(("arXiv 2222.22222", "2222.22222"), ("code", "2222.22223")),
    package=__name__,
    config=Shown,
    margins=ShownMargins,
    plan=lambda config, preset, networks: [],
    read=lambda study: None,
    claims_ref=".claims:CLAIMS",
    asks={"S1": "schedule"},
    tables=(
        Table(
            "shown_accuracy",
            (
                SCHEDULE,
                Column("n", "seeds"),
                Column("difference", "test accuracy minus the benchmark's", "points"),
                Column("difference_low", "lower end of its interval", "points"),
                Column("difference_high", "upper end of its interval", "points"),
            ),
            ".looks:accuracy",
            ".looks:view",
            ("A note.",),
        ),
        Table(
            "shown_published", (SCHEDULE,), lambda data: [{"schedule": "ours"}], ".looks:plain", scale="as published"
        ),
        Table("shown_curve", (SCHEDULE, Column("share", "share of training", "share")), lambda data: []),
    ),
    figures=(
        Figure("shown_accuracy", "Accuracy of schedules", ("shown_accuracy",), ".looks:draw"),
        Figure("shown_curve", "Curves of schedules", ("shown_curve",), ".looks:draw", ("shown_accuracy",)),
    ),
)
