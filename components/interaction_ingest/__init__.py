"""InteractionIngest: logs and tables to examples and catalogue."""
