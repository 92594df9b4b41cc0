"""The rules: one file each, with its code, name, explanation and check; see `registry`."""
