"""AnnIndexer: the approximate index beside the exact one, tuned by measured recall."""
