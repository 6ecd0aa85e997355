"""The semantic cache: what its gate lets through beside a plain threshold on similarity."""
