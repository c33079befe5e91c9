"""Writing files: whole or not at all, with clear errors. Independent of what they contain."""
