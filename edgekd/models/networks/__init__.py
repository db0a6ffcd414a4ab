"""Built-in network families, one file each."""
