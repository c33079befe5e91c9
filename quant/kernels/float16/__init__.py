"""Batches with weights of 16-bit floats, multiplied as 16-bit integers with a scale for each block of 64."""
