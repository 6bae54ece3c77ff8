"""InteractionIngest: logs and tables to sequences, users, items and catalogue."""
