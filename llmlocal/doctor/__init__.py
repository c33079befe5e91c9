"""The machine's health: facts about the hardware, and every kernel compared with its reference on this CPU."""
