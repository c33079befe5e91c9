"""Which texts an answer may be: JSON schemas, grammars and regular expressions, applied to the logits token by token.

Owns what is allowed and what is forced. When it begins to hold, after a thought, is decided in `generation`.
"""
