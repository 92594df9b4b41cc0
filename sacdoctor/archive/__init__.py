"""Zip archives, read in place and rewritten with every other byte as it was."""

from sacdoctor.archive.reading import STORED, Archive, Budget
from sacdoctor.archive.rewriting import Pieces, rewrite
from sacdoctor.archive.zip_end import ends_as_zip

__all__ = [
    "STORED",
    "Archive",
    "Budget",
    "Pieces",
    "ends_as_zip",
    "rewrite",
]
