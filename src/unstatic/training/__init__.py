"""Training: one loop, and the steps, optimiser, averages, checkpoints and logbook it works with."""
