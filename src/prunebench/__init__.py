"""prunebench: schedules, pruning criteria, analyses and one DAG that put three pruning papers to the test."""

__version__ = "0.1.0"
