"""Training again and again: what keeps one run from another's way, and what comes round with time."""
