"""The Trainer step: TFX's generic Trainer with its run parameters as execution properties."""
