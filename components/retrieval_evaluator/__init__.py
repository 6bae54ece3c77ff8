"""RetrievalEvaluator: exact ranking metrics and a blessing."""
