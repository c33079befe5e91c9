"""One file = one format; `format.load_all` finds them by themselves."""
