"""Labelled outcomes from wherever they are, whoever wrote the table, with every bad row named.

``read`` takes JSON lines, CSV, Parquet or a ledger. A row that cannot be used is left out and found
again among the problems; what was put right, or should be known, is a note. ``columns_of`` reads two
columns of a large file and nothing else.
"""

from cascade.intake.columnar import columns_of
from cascade.intake.findings import Finding, Found, Group, Intake
from cascade.intake.reading import each, read
from cascade.intake.repeats import tie_repeats

__all__ = ["Finding", "Found", "Group", "Intake", "columns_of", "each", "read", "tie_repeats"]
