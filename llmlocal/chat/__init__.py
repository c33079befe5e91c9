"""Conversations: their turns, the chat that answers them, functions, saved sessions, transcripts.

Uses `generation`; does not depend on a terminal.
"""
