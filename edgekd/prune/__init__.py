"""Structured pruning: groups, scores, allocation, surgery."""
