"""Zip archives, read in place and rewritten with every other byte as it was."""
