"""A trial: a user's own prompts, two models and a judge, from the quote to the verdict.

``prompts`` reads what is asked, ``meter`` counts every dollar and keeps the budget, ``recording`` asks
both tiers through the engine and has the answers judged (``pace``: what they cost; ``remembering``:
abstentions), ``quoting`` says what the rest will cost, ``verdict`` whether it pays, ``concluding``
learns and writes the files. ``Trial`` in ``running`` joins them.
"""

from cascade.trial.prompts import Prompts, read_prompts
from cascade.trial.running import Setting, Trial
from cascade.trial.verdict import Conclusion

__all__ = ["Conclusion", "Prompts", "Setting", "Trial", "read_prompts"]
