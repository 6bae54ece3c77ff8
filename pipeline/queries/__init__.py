"""What the user tower is asked, of one user: features and history; and the best items of its answer."""
