"""Kernels built from the parts of a format: matrix products, row look-up, quantization of rows.

They work on arrays of blocks, independent of files, models, threads and text.
"""
