"""How many channels each group keeps, one way a file."""
