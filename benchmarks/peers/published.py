"""What RouteLLM's authors publish of their routers, for Mixtral-8x7B and gpt-4-1106-preview.

Source of every figure: Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", arXiv 2406.18665v4: table 2
(MMLU, 5 shots), table 3 (GSM8K, 8 shots), table 7 (what a router itself costs). No scores of single questions are
published, so a published router is compared at these points only.
"""

from __future__ import annotations

from typing import NamedTuple

PAPER = "arXiv 2406.18665v4"


class Published(NamedTuple):
    """Strong shares at which half and 80 % of the gap are recovered, and APGR; ``overhead`` in dollars a question."""

    name: str
    trained_on: str
    cpt50: float
    cpt80: float
    apgr: float
    overhead: float = 0.0


BERT, CAUSAL, FACTORS, RANKING = 3.19e-6, 5.23e-6, 3.32e-6, 39.26e-6
ARENA, JUDGE, GOLD = "Arena", "Arena + judge", "Arena + gold"

GSM8K = (
    Published("random", "", 0.5000, 0.8008, 0.497),
    Published("BERT", ARENA, 0.5878, 0.8384, 0.438, BERT),
    Published("causal LLM", ARENA, 0.5609, 0.8356, 0.461, CAUSAL),
    Published("matrix factorization", ARENA, 0.5359, 0.8524, 0.4746, FACTORS),
    Published("SW ranking", ARENA, 0.5443, 0.8211, 0.4753, RANKING),
    Published("BERT", JUDGE, 0.4476, 0.7909, 0.531, BERT),
    Published("causal LLM", JUDGE, 0.3364, 0.6326, 0.622, CAUSAL),
    Published("matrix factorization", JUDGE, 0.3882, 0.7262, 0.565, FACTORS),
    Published("SW ranking", JUDGE, 0.4121, 0.7220, 0.568, RANKING),
)
MMLU = (
    Published("random", "", 0.5007, 0.7993, 0.500),
    Published("BERT", ARENA, 0.4943, 0.7780, 0.502, BERT),
    Published("causal LLM", ARENA, 0.4888, 0.7793, 0.499, CAUSAL),
    Published("matrix factorization", ARENA, 0.4500, 0.7686, 0.524, FACTORS),
    Published("SW ranking", ARENA, 0.5582, 0.8025, 0.473, RANKING),
    Published("BERT", GOLD, 0.4130, 0.7220, 0.572, BERT),
    Published("causal LLM", GOLD, 0.3549, 0.7031, 0.600, CAUSAL),
    Published("matrix factorization", GOLD, 0.3546, 0.7140, 0.597, FACTORS),
    Published("SW ranking", GOLD, 0.3540, 0.7155, 0.603, RANKING),
)
