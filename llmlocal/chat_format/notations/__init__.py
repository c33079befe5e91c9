"""The notations in which models write calls of functions: one file each, with its tags and what reads it.

A notation has FAMILIES (its tags, and how a call is written where a chat template does not show it), BEGINS (what only
begins texts in this notation) and `parse` (the calls in a text; raises ValueError or returns none for other texts).
"""
