"""The rules that decide which interactions are kept, and how much they count."""
