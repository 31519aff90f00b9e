"""Engines that are not ours: what others built, behind the same protocol."""
