"""Recommending for one user: what `dssm recommend` and `dssm serve` share, and the command itself."""
