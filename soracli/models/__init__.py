"""The pure-PyTorch model zoo. Nothing is imported here, so that configurations stay torch-free."""
