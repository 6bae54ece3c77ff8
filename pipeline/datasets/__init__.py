"""Data sets to run the pipeline on: a public one, and one drawn from a planted model.

Each writes the same three tables (pipeline.datasets.tables), so that one schema file serves both.
"""
