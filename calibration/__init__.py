"""This project's labelled outcomes, the programs that refit its policies, and their reports."""
