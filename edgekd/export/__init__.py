"""Writing a network for a runtime, and proving that the engine computes the same."""
