"""A sandbox for untrusted Jinja templates: limits on resources, no access to Python's internals, text with origin.

Only `environment` and `filters` import jinja2.
"""
