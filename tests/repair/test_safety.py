"""Nothing is lost, ever: what a repair does to the files around it when anything goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch as th

from sacdoctor import Checkpoint, SacdoctorError
from sacdoctor.checkpoint.edits import Edits
from sacdoctor.repair import fix
from tests.archives import members_of, saved, sb3_members, zip_of
from tests.conftest import ROOT, Outcome, Run, child_environment
from tests.repair import truth

pytestmark = pytest.mark.slow

MIB = 1024**2
KILLS = 60
NOBODY = 65534

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
root = pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root may do this")


@pytest.fixture
def source(tmp_path: Path, broken: Path) -> Path:
    """A broken checkpoint in a folder of its own."""
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "model.zip"
    path.write_bytes(broken.read_bytes())
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def state_of(path: Path) -> tuple[str, int, int, int]:
    status = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return digest, status.st_mtime_ns, status.st_mode, status.st_ino


# -- the input ---------------------------------------------------------------------------------


def test_input_is_untouched(source: Path) -> None:
    before = state_of(source)
    fix(source)
    assert state_of(source) == before


def test_input_is_never_opened_for_writing(source: Path, tmp_path: Path) -> None:
    """Python tells an audit hook of every file that is opened, and how."""
    code = (
        "import os, sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: event in ('open', 'os.rename', 'os.remove', "
        "'os.truncate', 'os.chmod', 'os.link') and opened.append((event, *map(str, args))))\n"
        "from sacdoctor.repair import fix\n"
        "fix(sys.argv[1])\n"
        "writing = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND | os.O_CREAT\n"
        "mine = [e for e in opened if e[1] == sys.argv[1]]\n"
        "assert [e for e in mine if e[0] == 'open'], 'it was read without being opened?'\n"
        "for event in mine:\n"
        "    assert event[0] in ('open', 'os.link') and event[0] == 'open', event\n"
        "    assert not int(event[3]) & writing, event\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source)],
        env=child_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@root
@posix
def test_a_file_that_may_only_be_read_is_repaired(source: Path) -> None:
    source.chmod(0o444)
    for folder in (source.parent, *source.parent.parents):
        if str(folder).startswith("/tmp/pytest"):
            folder.chmod(0o755)
    source.parent.chmod(0o777)
    outcome = as_nobody("fix", str(source))
    assert (outcome.code, outcome.err) == (0, "")
    assert names(source.parent) == ["model.zip", "model_FIXED.zip"]


# -- the output --------------------------------------------------------------------------------


def test_output_stands_beside_the_input(source: Path) -> None:
    result = fix(source)
    assert result.output == str(source.with_name("model_FIXED.zip"))
    assert names(source.parent) == ["model.zip", "model_FIXED.zip"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600, 0o444])
def test_permissions_are_the_inputs(source: Path, mode: int) -> None:
    source.chmod(mode)
    fix(source)
    output = source.with_name("model_FIXED.zip")
    assert stat.S_IMODE(output.stat().st_mode) == mode


@pytest.mark.parametrize(
    ("mode", "umask", "expected"),
    [(0o666, 0o022, 0o644), (0o644, 0o077, 0o600), (0o600, 0o000, 0o600)],
)
def test_a_new_output_obeys_the_umask(source: Path, mode: int, umask: int, expected: int) -> None:
    source.chmod(mode)
    earlier = os.umask(umask)
    try:
        fix(source)
    finally:
        os.umask(earlier)
    output = source.with_name("model_FIXED.zip")
    assert stat.S_IMODE(output.stat().st_mode) == expected


def test_force_keeps_the_permissions_of_the_output(source: Path) -> None:
    source.chmod(0o644)
    output = source.with_name("model_FIXED.zip")
    output.write_bytes(b"old")
    output.chmod(0o600)
    fix(source, force=True)
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


def test_dry_run_writes_nothing_and_says_what_it_would(source: Path) -> None:
    before = state_of(source)
    dry = fix(source, dry_run=True)
    assert (dry.output, dry.after) == (None, None)
    assert names(source.parent) == ["model.zip"]
    assert state_of(source) == before
    assert dry.plan == fix(source).plan
    assert dry.plan.repaired


def test_an_existing_output_is_kept(source: Path) -> None:
    output = source.with_name("model_FIXED.zip")
    output.write_text("precious")
    with pytest.raises(SacdoctorError, match="exists already"):
        fix(source)
    assert output.read_text() == "precious"
    assert names(source.parent) == ["model.zip", "model_FIXED.zip"]


def test_an_existing_output_is_replaced_by_force(source: Path) -> None:
    output = source.with_name("model_FIXED.zip")
    output.write_text("of no more use")
    fix(source, force=True)
    truth.assert_sound(output)


@pytest.mark.parametrize("way", ["same", "dots", "symlink", "hardlink", "linked folder"])
@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
def test_input_as_output_is_refused(source: Path, way: str, force: bool) -> None:
    output = source.with_name("other.zip")
    if way == "same":
        output = source
    elif way == "dots":
        output = source.parent / ".." / source.parent.name / source.name
    elif way == "symlink":
        output.symlink_to(source)
    elif way == "hardlink":
        output.hardlink_to(source)
    else:
        output = source.parent.with_name("link") / source.name
        output.parent.symlink_to(source.parent)
    before, there = state_of(source), names(source.parent)
    with pytest.raises(SacdoctorError, match="same file"):
        fix(source, output=output, force=force)
    assert state_of(source) == before
    assert names(source.parent) == there


def test_a_link_is_followed_to_the_file_it_means(source: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest.zip"
    link.symlink_to(source)
    result = fix(link)
    assert result.output == str(source.with_name("model_FIXED.zip"))
    assert link.is_symlink()
    assert names(tmp_path) == ["latest.zip", "run"]


def test_an_output_that_is_a_link_replaces_what_it_means(source: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere.zip"
    place.write_text("old")
    link = tmp_path / "link.zip"
    link.symlink_to(place)
    fix(source, output=link, force=True)
    assert link.is_symlink()
    truth.assert_sound(place)


def test_folders_and_pipes_are_no_outputs(source: Path, tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    for output in (folder, pipe):
        with pytest.raises(SacdoctorError, match="not a regular file"):
            fix(source, output=output, force=True)
    assert names(tmp_path) == ["folder", "pipe", "run"]


def test_a_missing_folder_is_one_clear_error(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SacdoctorError, match="cannot be written: No such file"):
        fix(source, output=tmp_path / "missing" / "out.zip")
    assert names(tmp_path) == ["run"]


def test_names_as_long_as_a_name_can_be(source: Path) -> None:
    long = source.with_name("m" * (255 - len("_FIXED.zip")) + ".zip")
    source.rename(long)
    fix(long)
    truth.assert_sound(long.with_name(long.stem + "_FIXED.zip"))
    too_long = long.with_name("n" * 251 + ".zip")
    long.rename(too_long)
    with pytest.raises(SacdoctorError, match="name too long"):
        fix(too_long)


def test_a_copy_that_reads_back_wrong_is_thrown_away(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that lies: one bit of what was written is another one when it is read."""
    honest = Checkpoint.edited

    def lying(checkpoint: Checkpoint, edits: Edits) -> Iterator[bytes]:
        data = bytearray(b"".join(bytes(piece) for piece in honest(checkpoint, edits)))
        data[len(data) // 2] ^= 1
        yield bytes(data)

    monkeypatch.setattr(Checkpoint, "edited", lying)
    with pytest.raises(SacdoctorError):
        fix(source)
    assert names(source.parent) == ["model.zip"]


def test_a_copy_with_other_values_than_planned_is_thrown_away(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sound archive with sound checksums, that simply holds something else."""
    monkeypatch.setattr(Checkpoint, "edited", lambda checkpoint, edits: [bytes(checkpoint.buffer)])
    with pytest.raises(SacdoctorError, match="did not read back as planned"):
        fix(source)
    assert names(source.parent) == ["model.zip"]


# -- kills -------------------------------------------------------------------------------------


@posix
def test_killed_at_any_moment_there_is_the_old_state_or_the_whole_new_file(
    tmp_path: Path,
) -> None:
    members = sb3_members({"fc.weight": th.ones(500, 1000), "fc.bias": th.zeros(500)})
    members["padding.bin"] = bytes(16 * MIB)
    source = tmp_path / "model.zip"
    source.write_bytes(zip_of(members))
    script = ROOT / "tests" / "repair" / "killed.py"
    done = subprocess.run(
        [sys.executable, str(script), str(source), str(KILLS)],
        env=child_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["killed"] == KILLS
    assert found["while writing"] >= 10  # else the kills came too early to say anything
    assert found["litter"] == 5  # and the last run succeeded beside it


@posix
def test_interrupted_it_cleans_up_behind_itself(tmp_path: Path) -> None:
    members = sb3_members({"fc.weight": th.ones(4, 4), "fc.bias": th.zeros(4)})
    members["padding.bin"] = bytes(64 * MIB)
    source = tmp_path / "model.zip"
    source.write_bytes(zip_of(members))
    process = subprocess.Popen(
        [sys.executable, "-m", "sacdoctor", "fix", str(source)],
        env=child_environment(),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not any(n.startswith(".sacdoctor") for n in names(tmp_path)):
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert names(tmp_path) == ["model.zip"]


# -- no room -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_disk_that_fills_up_is_one_clear_line(shell: Run, source: Path, share: float) -> None:
    limit = int(share * source.stat().st_size)
    before = state_of(source)

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    outcome = shell("fix", source, preexec_fn=small)
    assert (outcome.code, outcome.out) == (2, "")
    assert str(source.with_name("model_FIXED.zip")) in outcome.complaint
    assert "File too large" in outcome.complaint
    assert names(source.parent) == ["model.zip"]
    assert state_of(source) == before


def test_a_limit_that_suffices_is_no_trouble(shell: Run, source: Path) -> None:
    limit = 2 * source.stat().st_size

    def enough() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    assert shell("fix", source, preexec_fn=enough).code == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; the test is skipped where none can be had."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_file_system_is_one_clear_line(run: Run, source: Path, small_disk: Path) -> None:
    output = small_disk / "out.zip"
    (small_disk / "precious.txt").write_text("kept")
    outcome = run("fix", source, "--output", output)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint.endswith(f"{output}: it cannot be written: No space left on device")
    assert names(small_disk) == ["precious.txt"]


# -- no permission -----------------------------------------------------------------------------


def as_nobody(*arguments: str) -> Outcome:
    """The command as a user without rights; modules are imported while they can be read."""
    code = (
        "import os, sys\n"
        "from contextlib import suppress\n"
        "from sacdoctor.cli.main import main\n"
        "arguments = sys.argv[1:]\n"
        "sys.argv = ['sacdoctor', 'fix', arguments[0], '--dry-run']\n"
        "quiet = open(os.devnull, 'w')\n"
        "out, sys.stdout = sys.stdout, quiet\n"
        "with suppress(SystemExit):\n"
        "    main()\n"
        "sys.stdout = out\n"
        "import sacdoctor.files.atomic, shutil, tempfile, secrets\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "sys.argv = ['sacdoctor', *arguments[1:]]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, arguments[1], *arguments],
        env=child_environment(),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@root
@posix
def test_a_folder_that_may_only_be_read_is_one_clear_line(source: Path) -> None:
    for folder in source.parents:
        if str(folder).startswith("/tmp/pytest"):
            folder.chmod(0o755)
    source.chmod(0o644)
    source.parent.chmod(0o555)
    outcome = as_nobody("fix", str(source))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint == (
        f"sacdoctor: {source.with_name('model_FIXED.zip')}: it cannot be written: Permission denied"
    )
    assert names(source.parent) == ["model.zip"]


@root
@posix
def test_an_input_that_may_not_be_read_is_one_clear_line(source: Path) -> None:
    for folder in source.parents:
        if str(folder).startswith("/tmp/pytest"):
            folder.chmod(0o755)
    source.parent.chmod(0o777)
    source.chmod(0o000)
    outcome = as_nobody("fix", str(source))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint == f"sacdoctor: {source}: Permission denied"
    assert names(source.parent) == ["model.zip"]


# -- what is already there ---------------------------------------------------------------------


def test_a_foreign_record_of_the_same_name_is_not_overwritten(tmp_path: Path) -> None:
    members = sb3_members({"fc.weight": th.ones(4, 4), "fc.bias": th.zeros(4)})
    source = tmp_path / "model.zip"
    others = (b"my own notes", b"[]", b"{}", b"", b'{"repairs": 3}', b'{"repairs": {"a": 1}}')
    for content in others:
        source.write_bytes(zip_of({**members, truth.RECORD: content}))
        with pytest.raises(SacdoctorError, match=truth.RECORD):
            fix(source)
        assert names(tmp_path) == ["model.zip"]


def test_an_output_in_another_folder_leaves_the_inputs_folder_alone(
    source: Path, tmp_path: Path
) -> None:
    fix(source, output=tmp_path / "out.zip")
    assert names(source.parent) == ["model.zip"]
    assert (
        members_of((tmp_path / "out.zip").read_bytes())["data"]
        == members_of(source.read_bytes())["data"]
    )


def test_two_at_once_give_one_whole_file(source: Path) -> None:
    """Without --force the second to finish is told that the file exists already."""
    command = [sys.executable, "-m", "sacdoctor", "fix", str(source)]
    both = [
        subprocess.Popen(
            command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    assert sum(b"exists already" in error for error in errors) == 1
    truth.assert_sound(source.with_name("model_FIXED.zip"))
    assert names(source.parent) == ["model.zip", "model_FIXED.zip"]


def test_a_bare_file_saved_by_torch_keeps_its_permissions_too(tmp_path: Path) -> None:
    source = tmp_path / "weights.pth"
    source.write_bytes(saved({"fc.weight": th.ones(4, 4), "fc.bias": th.zeros(4)}))
    source.chmod(0o640)
    fix(source)
    assert stat.S_IMODE((tmp_path / "weights_FIXED.pth").stat().st_mode) == 0o640
