"""Measurements of models: speed, perplexity, KL divergence, comparison."""
