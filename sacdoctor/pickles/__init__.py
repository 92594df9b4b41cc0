"""Pickles read as data: the machine that walks them, and what their names become."""
