"""A verdict on the data before anything is trained."""
