"""Layers that Gemma 3n, Gemma 4 and its assistants alone have."""
