"""Endpoints of llama.cpp's server: tokens of texts, and texts filled in between two others."""
