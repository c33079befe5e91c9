"""Results as lines of text, tables and JSON records. Knows no command line."""
