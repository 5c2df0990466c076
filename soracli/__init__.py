"""sora-trainer: train a Sora-like video model from nothing, and make videos with it."""

__version__ = "0.1.0"
