"""CandidateIndexer: the item tower over the whole catalogue."""
