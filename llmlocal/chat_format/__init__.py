"""How a conversation is written for a model, and how its answer is read: templates, thoughts, tool calls.

Knows text and tokens; knows no engine and no sampling.
"""
