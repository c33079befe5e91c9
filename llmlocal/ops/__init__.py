"""Kernels over float32 activations and the KV cache. One file, one operation, each with its NumPy reference.

Knows no layer, no model and no thread: a kernel is given addresses and takes its work from a counter.
"""
