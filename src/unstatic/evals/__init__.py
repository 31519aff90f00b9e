"""Measuring what a model can do, always beside what the real renders score."""
