"""Peers on the same recorded answers: what they make of each, and what they would have served.

``python -m benchmarks peers`` runs cascadeflow and uqlm themselves, each in a throw-away environment (``peer_cascadeflow``
and ``peer_uqlm`` are the workers, ``apart`` starts them); ``cases`` reads the answers, ``measured`` judges what the
peers say, ``recorded`` keeps it for this project's own recording. ``python -m benchmarks routers`` sets the cascade
beside RouteLLM's published routers: ``published`` holds their figures with the source, ``gsm8k`` and ``queries`` make
ours, ``curves`` has the metrics.
"""
