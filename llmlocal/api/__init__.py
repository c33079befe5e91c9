"""The Python API: `load` opens a model, which generates text, chats, tokenizes, and gives logits.

Owns what a caller outside the package sees; `llmlocal/__init__` exports it. The work itself is done in the rooms below.
"""
