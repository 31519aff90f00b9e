"""The networks, one file each, and the files their weights live in."""
