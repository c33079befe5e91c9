"""Ollama's protocol: chat, generate, and what is offered."""
