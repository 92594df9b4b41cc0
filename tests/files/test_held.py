"""Files that others write to while they are read: what was read holds, or the read says so."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from sacdoctor.errors import ChangedFile, NotACheckpoint
from sacdoctor.files import crc32, fetched, held, is_held, map_file, pin, refuse_changed, unpin

MIB = 1024**2
BYTES = bytes(range(256)) * (12 * MIB // 256)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(BYTES)
    return path


def test_a_small_file_is_of_one_moment_whatever_becomes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"as it was")
    view = map_file(path)
    path.write_bytes(b"x")
    assert bytes(fetched(view)) == b"as it was"
    refuse_changed(view)


def test_a_small_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"as it was")
    statuses = [path.stat()]
    path.write_bytes(b"and is now")
    statuses.append(path.stat())
    monkeypatch.setattr(
        held.os, "fstat", lambda _: statuses.pop(0) if len(statuses) > 1 else statuses[0]
    )
    with pytest.raises(ChangedFile, match="it changed while it was read; try again"):
        map_file(path)


def test_of_a_large_file_bytes_are_read_when_they_are_asked_for(large: Path) -> None:
    view = map_file(large)
    assert is_held(view)
    assert bytes(fetched(view[5 * MIB + 3 : 5 * MIB + 9])) == BYTES[5 * MIB + 3 : 5 * MIB + 9]
    assert crc32(view[7 : 9 * MIB]) == zlib.crc32(BYTES[7 : 9 * MIB])
    assert bytes(fetched(view[9 * MIB :])) == BYTES[9 * MIB :]
    assert bytes(fetched(view[:0])) == b""
    refuse_changed(view)


def test_both_ends_of_a_large_file_and_what_is_pinned_outlast_that_it_is_emptied(
    large: Path,
) -> None:
    view = map_file(large)
    pin(view[6 * MIB - 5 : 6 * MIB + 5])
    os.truncate(large, 0)
    assert bytes(view[:16_384]) == BYTES[:16_384]
    assert bytes(view[-16_384:]) == BYTES[-16_384:]
    assert bytes(view[6 * MIB - 5 : 6 * MIB + 5]) == BYTES[6 * MIB - 5 : 6 * MIB + 5]
    unpin(view)
    assert bytes(view[-16_384:]) == BYTES[-16_384:]


def test_what_is_cut_off_is_no_bus_error_but_a_changed_file(large: Path) -> None:
    view = map_file(large)
    os.truncate(large, 3 * MIB)
    assert bytes(fetched(view[: 3 * MIB])) == BYTES[: 3 * MIB]
    for read in (fetched, pin, crc32):
        with pytest.raises(ChangedFile) as caught:
            read(view[2 * MIB : 4 * MIB])
        assert caught.value.path == large


@pytest.mark.parametrize("how", ["written over", "cut off", "longer"])
def test_a_large_file_that_was_written_to_is_refused_at_the_end(large: Path, how: str) -> None:
    view = map_file(large)
    with large.open("r+b") as file:
        file.seek(len(BYTES) if how == "longer" else MIB)
        file.truncate() if how == "cut off" else file.write(b"other")
    with pytest.raises(ChangedFile, match="it changed while it was read; try again"):
        refuse_changed(view)


def test_a_large_file_that_another_takes_the_place_of_is_what_it_was(large: Path) -> None:
    view = map_file(large)
    other = large.with_name("other")
    other.write_bytes(bytes(len(BYTES)))
    other.replace(large)
    assert bytes(fetched(view[:MIB])) == BYTES[:MIB]
    refuse_changed(view)


def test_a_large_file_takes_no_memory_of_its_size(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.touch()
    os.truncate(path, 1 << 40)  # a terabyte of holes
    view = map_file(path)
    assert len(view) == 1 << 40
    assert bytes(fetched(view[1 << 39 : (1 << 39) + 4])) == bytes(4)


@pytest.mark.parametrize("what", ["folder", "pipe", "empty", "missing"])
def test_what_is_no_file_with_bytes_is_named(what: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "empty":
        path.touch()
    with pytest.raises(NotACheckpoint):
        map_file(path)
