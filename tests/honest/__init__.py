"""Files that nobody need be warned of: what SB3 itself writes, and what users put into it."""
