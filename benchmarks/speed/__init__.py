"""What a request costs beside its peers and floors; ``python -m benchmarks speed``.

``turns`` is how processes take turns, ``stub`` the server that answers at once, ``setting`` the one
engine that is measured. ``ours``, ``peer_cascadeflow`` and ``peer_litellm`` are the workers,
``imports`` the cost of importing, ``rounds`` runs them interleaved, ``bars`` judges the figures and
``report`` writes them down.
"""
