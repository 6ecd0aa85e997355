"""The semantic cache: what it costs, what it survives, and what its gate lets through."""
