"""Chat templates: conversation to prompt; and parsing of answers: reasoning, tool calls.

Depends on text and tokenizers, not on the engine.
"""
