"""Speculation: tokens that are proposed cheaply, and proved or refuted by one run of the model.

Proposers, what they were worth so far, and the decision whether proposing pays. Does not depend on the engine or on
text: ids and seconds come in, ids go out.
"""
