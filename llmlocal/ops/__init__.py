"""Kernels over float32 activations and the KV cache: one file for one operation, with its NumPy reference.

A kernel gets addresses and sizes, and takes its work from a counter that its threads share. The room does not depend on
layers, models or threads.
"""
