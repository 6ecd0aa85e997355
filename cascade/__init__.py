"""A confidence-gated cascade for LLM calls."""
