"""The semantic cache: what it costs and what it survives."""
