"""The HTML report: one self-contained page."""

from prunebench.suite.report.page.page import write_page

__all__ = ["write_page"]
