"""The user's settings: which there are, where their values come from, and how they reach a command."""
