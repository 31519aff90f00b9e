"""What can be asked of the server: each handler reads, calls and shapes, and does nothing else."""
