"""What the user tower is asked, of one user: features and history; the best items of its answer; notes."""
