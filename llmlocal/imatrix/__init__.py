"""Importance matrices: collected during a forward pass, read and written as llama.cpp does, and summarized."""
