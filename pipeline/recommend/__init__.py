"""`dssm recommend`: recommendations for one user or a table of users, and similar items."""
