"""Networks: built-in families and what can be said about any network."""
