"""The interactions' way through Beam."""
