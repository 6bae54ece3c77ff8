"""Plots of a run and of its data, as files and on a terminal."""
