"""`dssm serve`: the current release over HTTP."""
