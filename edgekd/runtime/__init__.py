"""What an app imports: numpy and one engine, nothing else."""
