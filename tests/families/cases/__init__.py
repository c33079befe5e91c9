"""Cases by kind of architecture: each file has a dictionary CASES, and is found by itself."""
