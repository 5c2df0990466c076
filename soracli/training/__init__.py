"""Training machinery that knows no model."""
