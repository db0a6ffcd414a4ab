"""What a network can be trained to decide, one file a task."""
