"""Biases that go dead while training runs, and their repair."""
