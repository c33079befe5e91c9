"""The terminal. A command parses its options, makes one call into llmlocal and prints the result; only `ui` draws."""
