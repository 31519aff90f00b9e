"""Frames in files and pictures: the only room that imports a codec."""
