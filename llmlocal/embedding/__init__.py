"""Texts to vectors: pooling, prompts and normalization as a model's metadata says, and texts of any number in batches.

The room does not depend on the terminal.
"""
