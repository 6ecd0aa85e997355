"""From labelled outcomes to a lock: reading rows, fitting scorers, walking paths, issuing certificates."""
