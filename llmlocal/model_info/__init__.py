"""What can be said of a model without running it: metadata, memory, work per token, how a text is tokenized.

Needs neither kernels nor weights, so that `show` and `list` are quick.
"""
