"""Data: shards on disk, batches drawn from them, and the encoding of clips to latents."""
