"""What a cascade saves against always-frontier, measured on rows that nothing was fitted on."""
