"""Peers on the same recorded answers: what they make of each, and what they would have served.

``python -m benchmarks peers`` runs cascadeflow and uqlm themselves, each in a throw-away environment: ``apart`` starts
the workers ``peer_cascadeflow`` and ``peer_uqlm``; ``cases`` reads the answers, ``measured`` judges what is said of
them, ``recorded`` keeps it for this project's own recording, ``ours`` is the demo policy's confidence there, ``report``
writes it all down.

``python -m benchmarks routers`` sets the cascade beside RouteLLM's published routers: ``published`` holds their figures
and the source, ``gsm8k``, ``certified`` and ``queries`` make ours, ``curves`` has the metrics, ``routers`` and ``page``
write them down.
"""
