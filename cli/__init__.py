"""The terminal. A command parses, makes one call into llmlocal, prints; only `ui` draws."""
