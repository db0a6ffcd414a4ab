"""What runtimes make of a graph: which operators are fused, in which layout they run."""
