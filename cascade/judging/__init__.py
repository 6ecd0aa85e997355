"""Judges: who says whether an answer is acceptable, and how their words become labels."""
