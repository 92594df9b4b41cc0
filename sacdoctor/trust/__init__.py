"""What loading a file would run: references, the allow list, dangerous names."""
