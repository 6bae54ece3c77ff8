"""One configuration to one TFX pipeline, run locally or elsewhere, and the command line."""
