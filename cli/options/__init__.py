"""Options of all commands, by what they are about: each name, meaning and default is written once, here."""
