"""A trial: a user's own prompts, two models and a judge, from the quote to the verdict.

``prompts`` reads what is asked, ``cascade.batch`` asks both tiers, has the answers judged and counts every
dollar, ``quoting`` says what the rest will cost, ``verdict`` whether it pays, ``concluding`` learns and
writes the files. ``Trial`` in ``running`` joins them.
"""

from cascade.trial.prompts import Prompts, read_prompts
from cascade.trial.running import Setting, Trial
from cascade.trial.verdict import Conclusion

__all__ = ["Conclusion", "Prompts", "Setting", "Trial", "read_prompts"]
