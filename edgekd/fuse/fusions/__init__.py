"""One file per runtime; see edgekd.fuse.fusion."""
