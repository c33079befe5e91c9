"""Generation, token by token: a prompt in, events out; sampling, stop strings, the prompt cache on disk.

Brings engine, tokenizer and prompt together. Conversations are in `chat`; nothing here depends on a terminal.
"""
