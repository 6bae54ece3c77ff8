"""A first look at one's own tables: what they are, and a schema file and configuration to begin with."""
