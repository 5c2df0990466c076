"""Flow path, times, samplers, guidance and generation order: plain functions over a velocity function."""
