"""Many questions at once, and every dollar of them: asked within a budget, resumed after any end.

``journal`` writes a call down before it is sent and again when it has ended, ``meter`` does so at the one
seam to the models and keeps the budget, ``asking`` works through questions. On these stand two things:
``Batch`` in ``serving`` answers a file of ``questions`` through the engine as live traffic is answered
(``answers``: its output; ``summary``: what was decided), and ``record_outcomes`` in ``outcomes`` has every
tier of a policy answer and a judge say what the answers are worth (``recording``).
"""

from cascade.batch.journal import PossiblyBilled
from cascade.batch.outcomes import Recording, record_outcomes
from cascade.batch.questions import Questions, read_questions
from cascade.batch.serving import Batch
from cascade.batch.summary import Summary

__all__ = ["Batch", "PossiblyBilled", "Questions", "Recording", "Summary", "read_questions", "record_outcomes"]
