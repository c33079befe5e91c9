"""Results as lines of text, tables and JSON records, independent of the command line."""
