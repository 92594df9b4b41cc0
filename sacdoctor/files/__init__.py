"""Files on disk: mapped into memory, found below a folder, written whole or not at all."""

from sacdoctor.files.atomic import replace_file, replacing
from sacdoctor.files.folder import entered_below, files_below, refuse_other_than_folder
from sacdoctor.files.paging import crc32, map_file, release
from sacdoctor.files.saved import BUFFER, as_saved

__all__ = [
    "BUFFER",
    "as_saved",
    "crc32",
    "entered_below",
    "files_below",
    "map_file",
    "refuse_other_than_folder",
    "release",
    "replace_file",
    "replacing",
]
