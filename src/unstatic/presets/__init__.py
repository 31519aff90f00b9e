"""Training runs and model sizes as functions: a preset is a value that one can print, change and run."""
