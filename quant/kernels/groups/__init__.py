"""Products of many tokens with one scale for 256 columns: weights and activations as integers of a group."""
