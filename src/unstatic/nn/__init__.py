"""Small parts that networks are built from: attention, positions, norms, patches, streaming convolutions."""
