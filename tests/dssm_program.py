"""What the console script `dssm` runs, for tests that fork it."""

from pipeline.cli import main

main(prog_name="dssm")
