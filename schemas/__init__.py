"""What the features are, and every name that two parts of the pipeline must agree on."""
