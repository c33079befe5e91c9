"""Facts about a model without running it: metadata, memory estimate, work per token, tokenization of a text.

Needs neither kernels nor weights, so that `show` and `list` are fast.
"""
