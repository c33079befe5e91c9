"""Samplers, one a file: each says which candidates stay, or how their logits change."""
