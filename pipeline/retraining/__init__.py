"""Retraining without an operator: what is kept of earlier runs, and who is told how one ended."""
