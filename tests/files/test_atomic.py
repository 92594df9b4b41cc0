"""Replacing a file: the old one or the complete new one, whatever happens."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from sacdoctor.errors import SacdoctorError
from sacdoctor.files.atomic import replace_file
from tests.conftest import child_environment

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions, links and signals")

ENDLESS = """
import sys
from pathlib import Path
from sacdoctor.files.atomic import replace_file

def write(file):
    print("writing", flush=True)
    for _ in range(int(sys.argv[2])):
        file.write(b"new" * 100_000)
        file.flush()

while True:
    replace_file(Path(sys.argv[1]), write)
"""
SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
from sacdoctor.errors import SacdoctorError
from sacdoctor.files.atomic import replace_file

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    replace_file(Path(sys.argv[1]), lambda file: file.write(b"new" * 1000) and None)
except SacdoctorError as error:
    print(error)
"""


def writing(data: bytes):  # type: ignore[no-untyped-def]
    def write(file: BinaryIO) -> None:
        file.write(data)

    return write


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "settings.yml"
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_bytes_take_the_place_of_the_old(target: Path) -> None:
    replace_file(target, writing(b"new"))
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["settings.yml"]


def test_what_was_written_can_be_read_back_and_changed(target: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"abc")
        file.seek(0)
        assert file.read() == b"abc"
        file.seek(1)
        file.write(b"X")

    replace_file(target, write)
    assert target.read_bytes() == b"aXc"


@posix
@pytest.mark.parametrize("mode", [0o640, 0o600, 0o666, 0o444])
def test_the_permissions_of_a_file_that_is_replaced_stay(target: Path, mode: int) -> None:
    target.chmod(mode)
    replace_file(target, writing(b"new"), mode=0o604)
    assert stat.S_IMODE(target.stat().st_mode) == mode


@posix
@pytest.mark.parametrize(
    ("mode", "umask", "expected"),
    [
        (0o666, 0o027, 0o640),
        (0o666, 0o077, 0o600),
        (0o666, 0o000, 0o666),
        (0o600, 0o022, 0o600),
        (0o644, 0o077, 0o600),
        (0o444, 0o022, 0o444),
    ],
)
def test_a_new_file_has_the_permissions_that_the_umask_leaves(
    tmp_path: Path, mode: int, umask: int, expected: int
) -> None:
    earlier = os.umask(umask)
    try:
        replace_file(tmp_path / "new", writing(b"new"), mode=mode)
    finally:
        os.umask(earlier)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == expected


# -- what killed runs left ---------------------------------------------------------------------


def left(folder: Path, name: str = ".sacdoctor-0123456789abcdef.tmp", hours: float = 2.0) -> Path:
    """A temporary file that was last written to so long ago."""
    path = folder / name
    path.write_bytes(b"half of a checkpoint")
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))
    return path


def test_what_a_killed_run_left_is_removed_by_the_next_that_writes_there(target: Path) -> None:
    left(target.parent)
    left(target.parent, ".sacdoctor-fedcba9876543210.tmp", hours=24 * 365)
    replace_file(target, writing(b"new"))
    assert names(target.parent) == ["settings.yml"]


@pytest.mark.parametrize("hours", [0.0, 0.9, -5.0])
def test_the_file_of_a_run_that_may_be_at_work_stays(target: Path, hours: float) -> None:
    kept = left(target.parent, hours=hours)
    replace_file(target, writing(b"new"))
    assert kept.exists()


@pytest.mark.parametrize(
    "name",
    [
        ".sacdoctor-0123456789abcdef.tmp.zip",
        ".sacdoctor-0123456789ABCDEF.tmp",
        ".sacdoctor-notes.tmp",
        "x.sacdoctor-0123456789abcdef.tmp",
        "model.tmp",
    ],
)
def test_files_of_other_names_stay(target: Path, name: str) -> None:
    kept = left(target.parent, name)
    replace_file(target, writing(b"new"))
    assert kept.exists()


@posix
def test_links_and_folders_of_such_names_stay(target: Path) -> None:
    precious = left(target.parent, "precious")
    link = target.parent / ".sacdoctor-0123456789abcdef.tmp"
    link.symlink_to(precious)
    then = time.time() - 7200
    os.utime(link, (then, then), follow_symlinks=False)
    folder = target.parent / ".sacdoctor-fedcba9876543210.tmp"
    folder.mkdir()
    os.utime(folder, (then, then))
    replace_file(target, writing(b"new"))
    assert link.is_symlink() and precious.exists() and folder.is_dir()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user")
def test_the_files_of_other_users_stay(target: Path) -> None:
    kept = left(target.parent)
    os.chown(kept, 65_534, -1)
    replace_file(target, writing(b"new"))
    assert kept.exists()


def test_a_folder_that_may_be_written_to_but_not_listed_will_do(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "scandir", scandir)
    replace_file(target, writing(b"new"))
    assert target.read_bytes() == b"new"


@posix
def test_a_link_stays_a_link(target: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    replace_file(link, writing(b"new"))
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@posix
def test_a_link_to_nothing_yet_leads_to_the_new_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "later")
    replace_file(link, writing(b"new"), overwrite=False)
    assert (tmp_path / "later").read_bytes() == b"new"


def test_an_existing_file_is_refused_where_it_must_stay(target: Path) -> None:
    with pytest.raises(SacdoctorError, match=r"settings\.yml: it exists already"):
        replace_file(target, writing(b"new"), overwrite=False)
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["settings.yml"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_another_process_wrote_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        _without_links(monkeypatch)
    path = tmp_path / "new"
    with pytest.raises(SacdoctorError, match="it exists already"):
        replace_file(
            path,
            writing(b"ours"),
            check=lambda _: path.write_bytes(b"theirs") and None,
            overwrite=False,
        )
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["new"]


def test_a_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_links(monkeypatch)
    replace_file(tmp_path / "new", writing(b"new"), overwrite=False)
    assert (tmp_path / "new").read_bytes() == b"new"
    assert names(tmp_path) == ["new"]


def _without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", link)


def test_the_check_sees_the_complete_file_beside_the_target(target: Path) -> None:
    seen: list[tuple[bytes, Path, bool]] = []
    replace_file(
        target,
        writing(b"new"),
        check=lambda path: seen.append((path.read_bytes(), path.parent, path.name[0] == ".")),
    )
    assert seen == [(b"new", target.parent, True)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SacdoctorError("no", "x.zip")])
@pytest.mark.parametrize("during", ["write", "check"])
def test_a_failure_goes_through_and_leaves_the_old_file_alone(
    target: Path, error: BaseException | type[BaseException], during: str
) -> None:
    def fail(_: object) -> None:
        raise error

    write, check = (fail, None) if during == "write" else (writing(b"new"), fail)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        replace_file(target, write, check=check)
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["settings.yml"]


def test_an_os_error_becomes_one_line_with_the_path(target: Path) -> None:
    def write(file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SacdoctorError) as caught:
        replace_file(target, write)
    assert str(caught.value) == f"{target}: it cannot be written: No space left on device"
    assert names(target.parent) == ["settings.yml"]


def test_bytes_that_do_not_reach_the_disk_take_no_name(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    before = target.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SacdoctorError, match="cannot be written: Input/output error"):
        replace_file(target, lambda file: None, check=lambda path: None)
    assert target.read_bytes() == before
    assert names(target.parent) == [target.name]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, overwrite: bool) -> None:
    with pytest.raises(SacdoctorError, match=r"missing.new: it cannot be written: No such file"):
        replace_file(tmp_path / "missing" / "new", writing(b""), overwrite=overwrite)


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(SacdoctorError, match="it is not a regular file"):
        replace_file(tmp_path, writing(b""))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_folder_is_refused(target: Path) -> None:
    target.parent.chmod(0o500)
    try:
        with pytest.raises(SacdoctorError, match="it cannot be written: Permission denied"):
            replace_file(target, writing(b"new"))
    finally:
        target.parent.chmod(0o700)
    assert target.read_bytes() == b"old"


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    replace_file(path, writing(b"new"))
    assert path.read_bytes() == b"new"


def test_leftovers_of_a_killed_run_are_in_nobodys_way(target: Path) -> None:
    for _ in range(2):
        killed = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(target), "1000000"],
            env=child_environment(),
            stdout=subprocess.PIPE,
        )
        assert killed.stdout is not None and killed.stdout.readline() == b"writing\n"
        killed.kill()
        killed.wait()
        killed.stdout.close()
    assert target.read_bytes() == b"old"
    replace_file(target, writing(b"new"))
    assert target.read_bytes() == b"new"
    assert all(name.startswith(".") for name in names(target.parent) if name != target.name)


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file(target: Path) -> None:
    complete = b"new" * 100_000
    for moment in range(8):
        killed = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(target), "1"],
            env=child_environment(),
            stdout=subprocess.PIPE,
        )
        assert killed.stdout is not None
        killed.stdout.readline()
        time.sleep(moment * 0.0007)
        killed.kill()
        killed.wait()
        killed.stdout.close()
        assert target.read_bytes() in (b"old", complete)


@posix
def test_control_c_removes_the_temporary_file(target: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(target), "1000000"],
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None and child.stdout.readline() == b"writing\n"
    child.send_signal(signal.SIGINT)
    child.wait(30)
    child.stdout.close()
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["settings.yml"]


@posix
def test_a_full_disk_leaves_the_old_file_and_no_litter(target: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(target)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{target}: it cannot be written: File too large\n"
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["settings.yml"]
