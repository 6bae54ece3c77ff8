"""The three tables, looked into, checked and cleaned."""
