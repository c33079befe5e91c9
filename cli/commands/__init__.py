"""One command, one file: parse the options, make one call, print the result."""
