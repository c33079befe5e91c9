"""Conversations: turns, answers taken apart into thoughts, text and tool calls, saved sessions, transcripts.

Knows `generation`; knows no terminal.
"""
