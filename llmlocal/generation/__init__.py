"""Token by token: a prompt in, events with text out; sampling, stop strings, prompts cached on disk.

The only room that knows engine, tokenizer and prompt together. Knows no conversation and no terminal.
"""
