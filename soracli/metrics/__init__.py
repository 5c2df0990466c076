"""Measures: pure functions on tensors."""
