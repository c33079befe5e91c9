"""The interactive chat: its loop, slash commands, interrupts, and how it starts."""
