"""Live models and buffers from their files."""
