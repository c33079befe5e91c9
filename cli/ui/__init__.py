"""The only room that draws: standard streams, progress, Markdown, the line editor."""
