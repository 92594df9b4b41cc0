"""Warm-ups with forced actions: the wrapper, the buffer, and the guard that holds updates back."""
