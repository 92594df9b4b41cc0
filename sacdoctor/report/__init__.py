"""Reports as text: one file per output format."""
