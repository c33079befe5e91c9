"""`batch`: its options, its rows, and what its screen shows."""
