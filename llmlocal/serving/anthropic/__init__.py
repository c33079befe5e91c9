"""Anthropic's protocol: messages, and how many tokens they have."""
