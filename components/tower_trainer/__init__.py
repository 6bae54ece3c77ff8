"""The Trainer step: calls the function that trains, with run parameters as execution properties."""
