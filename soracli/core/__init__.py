"""Small torch-free things that every layer may use."""
