"""TOML recipes: typed sections, errors with lines, overrides and the origin of every value."""
