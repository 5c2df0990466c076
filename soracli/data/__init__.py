"""Clips, the procedural world, latent shards and packing."""
