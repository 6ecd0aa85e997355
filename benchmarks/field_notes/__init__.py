"""Published measurements of four models on six tasks: every ratio again, and what the scores hide."""
