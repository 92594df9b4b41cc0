"""Writing a file so that at any moment there is the old one or the complete new one."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from sacdoctor.errors import SacdoctorError

_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
"""What `link` fails with on a file system that knows no hard links (FAT, some network shares)."""
_TEMPORARY = re.compile(r"\.sacdoctor-[0-9a-f]{16}\.tmp")
_ABANDONED = 3600.0
"""Seconds. A run writes to its temporary file, or checks it, all the time; one that was not written
to for an hour belongs to a run that was killed."""


def replace_file(
    path: Path,
    write: Callable[[BinaryIO], None],
    *,
    mode: int = 0o666,
    check: Callable[[Path], None] | None = None,
    overwrite: bool = True,
) -> None:
    """Put a new file at `path`, complete or not at all.

    `write` gets a temporary file in the folder of `path`, open for writing and reading. While
    its bytes go to the disk, `check` gets its path, and raises to refuse it. Only after both does
    it take its name. A symbolic link stays a link: the file it leads to is replaced, and keeps its
    permissions. A new file gets those of `mode` that the umask leaves. Whatever ends this function
    early, the temporary file is removed; after a kill it stays, until a later run of the same user
    writes to that folder and finds it an hour old.

    Raises `SacdoctorError` with `path` where it cannot be written, and where it exists and
    `overwrite` is False, even if another process wrote it a moment ago. What `write` and `check`
    raise goes through, an `OSError` as a `SacdoctorError`.
    """
    with replacing(path, mode=mode, check=check, overwrite=overwrite) as file:
        write(file)


@contextmanager
def replacing(
    path: Path,
    *,
    mode: int = 0o666,
    check: Callable[[Path], None] | None = None,
    overwrite: bool = True,
) -> Iterator[BinaryIO]:
    """Give the temporary file to write to; at the end of the block it is put at `path`.

    All else is as in `replace_file`, with the block in the place of `write`.
    """
    target = Path(os.path.realpath(path))
    try:
        old = _status(target)
        if old is not None and not overwrite:
            raise FileExistsError(errno.EEXIST, "it exists already")
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise SacdoctorError("it is not a regular file", path)
        _remove_abandoned(target.parent)
        # Not named after the target, whose name may be as long as a name can be.
        temporary = target.with_name(f".sacdoctor-{os.urandom(8).hex()}.tmp")
        try:
            with _filling(temporary, mode, old, check) as file:
                yield file
            if overwrite:
                temporary.replace(target)
            else:
                _name_unless_taken(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except SacdoctorError:  # which may be a FileNotFoundError, too
        raise
    except FileExistsError:
        raise SacdoctorError("it exists already and is not overwritten", path) from None
    except OSError as error:
        raise SacdoctorError(f"it cannot be written: {error.strerror or error}", path) from None


def _status(target: Path) -> os.stat_result | None:
    try:
        return target.lstat()
    except FileNotFoundError:
        return None


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that killed runs of this user left in `folder`.

    Those of others and of runs that may still be at work stay; so does what cannot be removed.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    if _is_abandoned(entry.stat(follow_symlinks=False)):
                        Path(entry.path).unlink()


def _is_abandoned(status: os.stat_result) -> bool:
    is_own = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    is_old = time.time() - status.st_mtime > _ABANDONED
    return is_own and is_old and stat.S_ISREG(status.st_mode)


@contextmanager
def _filling(
    temporary: Path,
    mode: int,
    old: os.stat_result | None,
    check: Callable[[Path], None] | None,
) -> Iterator[BinaryIO]:
    """Create the temporary file, bring its bytes and permissions to the disk, and check it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    # Until it has the permissions of the file that it replaces, nobody reads along.
    descriptor = os.open(temporary, flags, mode if old is None else 0o600)
    with os.fdopen(descriptor, "w+b") as file:
        yield file
        file.flush()
        if old is not None:
            if hasattr(os, "fchown"):
                with suppress(PermissionError):  # only root may give a file to its former owner
                    os.fchown(descriptor, old.st_uid, old.st_gid)
            # After the owner: a change of owner clears the set-user-id bits.
            temporary.chmod(stat.S_IMODE(old.st_mode))
        with _syncing(descriptor):
            if check is not None:
                check(temporary)


@contextmanager
def _syncing(descriptor: int) -> Iterator[None]:
    """Have the system write the file to the disk meanwhile; raises `OSError` where it cannot."""
    failures: list[OSError] = []

    def sync() -> None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            failures.append(error)

    thread = Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


def _name_unless_taken(temporary: Path, target: Path) -> None:
    """Give the file its name; raises `FileExistsError` where another has it by now."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # The empty file holds the name, so that no other process's file is overwritten.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink()
            raise


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system can do that for a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
