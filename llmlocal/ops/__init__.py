"""Float kernels behind the vocabulary of `layers`: norms, rope, attention, activations. Knows no model."""
