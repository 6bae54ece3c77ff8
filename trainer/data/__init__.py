"""What a training reads, in memory: interactions once, as sequences, and features once per entity."""
