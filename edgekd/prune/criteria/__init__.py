"""Channel importance criteria, one file each."""
