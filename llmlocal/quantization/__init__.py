"""Models from one format to another: what is asked for becomes a plan, and a plan a file. Draws nothing."""
