"""Drafts: smaller models that propose tokens for a larger one.

Which files can be the draft of a model, the vocabulary that both must share, and the engine that continues a text. What
proposing costs and gains is the business of `speculation`.
"""
