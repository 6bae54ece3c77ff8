"""The files of the tables, read: a file for each format, and one registry."""
