"""Recommenders that need no training of ours, on the same queries as the model."""
