"""Replay buffers: reading, forced actions at their head, rewriting."""
