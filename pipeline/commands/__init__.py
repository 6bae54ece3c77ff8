"""The commands of `dssm`, one file each."""
