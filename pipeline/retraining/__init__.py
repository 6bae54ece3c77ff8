"""Retraining without an operator: one run at a time, what is trained when, what is kept, and who is told."""
