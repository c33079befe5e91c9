"""Kernels built from the parts of a format: matrix products, row look-up, quantization of rows.

Knows arrays of blocks; knows no file, model, thread or text.
"""
