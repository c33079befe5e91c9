"""Many prompts of a file answered by one engine: rows in, a file of results that can be continued.

Uses `scheduler`; does not depend on the terminal.
"""
