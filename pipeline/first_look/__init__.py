"""A first look at one's own tables: what each of them is, and a schema file and configuration to begin with."""
