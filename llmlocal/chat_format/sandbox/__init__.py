"""Foreign Jinja templates run here: in a budget, without Python's internals, with text that knows its origin.

Knows no chat and no tokens. `environment` and `filters` load jinja2, the others do not.
"""
