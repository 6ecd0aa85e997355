"""The ledger: every decision once, on disk before its answer goes out.

An append is one write to a spool file of this process; a thread moves what has been spooled into
SQLite in batches. Reading merges what belongs together: a decision, its shadow calls, its verdicts.
"""

from cascade.ledger.ledger import Ledger
from cascade.ledger.records import outcome_schema, read_outcomes, write_outcomes
from cascade.ledger.store import Health

__all__ = ["Health", "Ledger", "outcome_schema", "read_outcomes", "write_outcomes"]
