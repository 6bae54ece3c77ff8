"""`dssm embed`: any table of users or items through the towers of a release."""
