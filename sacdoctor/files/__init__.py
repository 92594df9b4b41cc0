"""Files on disk: held open and read, found below a folder, written whole or not at all."""

from sacdoctor.files.atomic import replace_file, replacing
from sacdoctor.files.folder import (
    entered_below,
    files_below,
    is_file,
    refuse_other_than_folder,
)
from sacdoctor.files.held import (
    SCRATCH,
    WHOLE,
    Ranges,
    crc32,
    fetch_ahead,
    fetch_into,
    fetched,
    is_far,
    is_held,
    map_file,
    map_ranges,
    pin,
    refuse_changed,
    scratch,
    stamp_of,
    unpin,
)
from sacdoctor.files.saved import BUFFER, as_saved

__all__ = [
    "BUFFER",
    "SCRATCH",
    "WHOLE",
    "Ranges",
    "as_saved",
    "crc32",
    "entered_below",
    "fetch_ahead",
    "fetch_into",
    "fetched",
    "files_below",
    "is_far",
    "is_file",
    "is_held",
    "map_file",
    "map_ranges",
    "pin",
    "refuse_changed",
    "refuse_other_than_folder",
    "replace_file",
    "replacing",
    "scratch",
    "stamp_of",
    "unpin",
]
