"""Item embeddings of a release as files that a vector search of another maker imports."""
