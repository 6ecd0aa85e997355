"""The report of a calibration, out of its ``Evidence``: for a terminal, and as one file for a browser."""

from cascade.report.page import html, write
from cascade.report.terminal import tables

__all__ = ["html", "tables", "write"]
