"""Weights that all networks of a space share, and the choice among them by what they answer."""
