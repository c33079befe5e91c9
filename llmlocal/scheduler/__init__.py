"""Continuous batching: many requests share one engine, each in a sequence of its own.

Uses `generation`; does not depend on a protocol or a terminal.
"""
