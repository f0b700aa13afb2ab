"""The HTML report: one self-contained page."""

from prunebench.report.page.page import write_page

__all__ = ["write_page"]
