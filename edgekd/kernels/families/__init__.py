"""Kinds of segments that networks consist of; every file holds a `KINDS` of its own."""
