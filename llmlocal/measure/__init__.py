"""Speed, perplexity, divergence and comparison of models. Prints nothing."""
