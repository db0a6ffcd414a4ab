"""Data, the training loop, evaluation, and checkpoints that are data only."""
