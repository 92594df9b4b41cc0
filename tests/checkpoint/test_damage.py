"""A file that was damaged after it was written: told apart from a sound one, never half read."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import pytest
import torch as th

from sacdoctor import Report, SacdoctorError, scan
from sacdoctor.errors import CorruptCheckpoint
from tests.archives import DEFLATED, Entry, raw_zip, saved, sb3_members, write_sb3, zip_of

POLICY = {
    "critic.qf0.0.weight": th.linspace(-1, 1, 12).reshape(4, 3),
    "critic.qf0.0.bias": th.tensor([0.0, 1.0, 0.0, 2.0]),
}
SETTINGS = {"learning_rate": 0.001, "num_timesteps": 1000, "target_entropy": -1.0}
OPTIMIZER = {
    "critic.optimizer": {
        "state": {0: {"step": 5, "exp_avg": th.ones(4)}},
        "param_groups": [{"lr": 0.001, "betas": (0.9, 0.999), "params": [0, 1]}],
    }
}


def layouts() -> dict[str, bytes]:
    members = sb3_members(POLICY, SETTINGS, OPTIMIZER)
    return {
        "stored": zip_of(members),
        "deflated": zip_of(members, DEFLATED),
        "zip64": zip_of(members, zip64=True),
        "bare": saved(POLICY),
    }


LAYOUTS = layouts()


def outcome(path: Path, data: bytes) -> Report | None:
    """The report, or None where the file is refused with one line that names it."""
    path.write_bytes(data)
    try:
        return scan(path)
    except SacdoctorError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        return None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_flipped_bit_is_harmless_or_refused(tmp_path: Path, layout: str) -> None:
    sound, path = LAYOUTS[layout], tmp_path / "model.zip"
    expected = outcome(path, sound)
    assert expected is not None
    refused = 0
    # Every byte of the directory and a good part of the others; each byte with one bit changed.
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        directory = archive.start_dir
    for at in [*range(0, directory, 11), *range(directory, len(sound))]:
        data = bytearray(sound)
        data[at] ^= 1 << (at % 8)
        found = outcome(path, bytes(data))
        assert found in (expected, None), f"byte {at:,}, bit {at % 8}"
        refused += found is None
    assert refused > 100


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_bit_of_the_end_record_is_harmless_or_refused(tmp_path: Path, layout: str) -> None:
    sound, path = LAYOUTS[layout], tmp_path / "model.zip"
    expected = outcome(path, sound)
    for at in range(len(sound) - 22, len(sound)):
        for bit in range(8):
            data = bytearray(sound)
            data[at] ^= 1 << bit
            assert outcome(path, bytes(data)) in (expected, None), (at - len(sound), bit)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_was_cut_off_is_refused_wherever_it_was_cut(
    tmp_path: Path, layout: str
) -> None:
    sound, path = LAYOUTS[layout], tmp_path / "model.zip"
    for length in [*range(0, len(sound), 197), *range(len(sound) - 200, len(sound))]:
        assert outcome(path, sound[:length]) is None, length


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("hole", [1, 512, 4096])
def test_a_hole_is_refused(tmp_path: Path, layout: str, hole: int) -> None:
    sound, path = LAYOUTS[layout], tmp_path / "model.zip"
    for at in range(0, len(sound) - hole, 611):
        assert outcome(path, sound[:at] + sound[at + hole :]) is None, at


def test_a_download_that_ended_in_zeros_is_refused(tmp_path: Path) -> None:
    sound = LAYOUTS["stored"]
    half = len(sound) // 2
    assert outcome(tmp_path / "model.zip", sound[:half] + bytes(len(sound) - half)) is None


def test_every_damaged_byte_of_a_tensor_is_found(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "model.zip", POLICY)
    sound = path.read_bytes()
    values = POLICY["critic.qf0.0.weight"].numpy().tobytes()
    start = sound.index(values)
    for at in range(start, start + len(values)):
        data = bytearray(sound)
        data[at] ^= 0x10
        assert outcome(path, bytes(data)) is None


def test_damage_to_a_large_member_is_damage_wherever_it_is(tmp_path: Path) -> None:
    """Large records are read once for their own checksum and the one around them."""
    large = th.linspace(-1, 1, 600 * 512).reshape(600, 512)
    path = write_sb3(tmp_path / "model.zip", {**POLICY, "critic.qf1.0.weight": large})
    sound = path.read_bytes()
    assert outcome(path, sound) is not None
    with zipfile.ZipFile(path) as archive:
        policy = archive.getinfo("policy.pth")
    record = sound.index(large.numpy().tobytes())
    start = sound.index(b"PK", policy.header_offset + 30)
    places = [
        start + 1,  # the first local header
        sound.index(b"OrderedDict", start),  # the pickle
        record + 4 * 300_000,
        sound.index(b"PK\1\2", record) + 10,  # the directory inside
        start + policy.file_size - 3,  # and its end
    ]
    for at in places:
        data = bytearray(sound)
        data[at] ^= 0x40
        path.write_bytes(data)
        with pytest.raises(CorruptCheckpoint, match=r"policy\.pth' does not match|data/.*match"):
            scan(path)


def test_a_wrong_checksum_around_a_sound_large_member_is_damage(tmp_path: Path) -> None:
    members = sb3_members({**POLICY, "critic.qf1.0.weight": th.ones(600, 512)}, SETTINGS)
    entries = [Entry(name, data) for name, data in members.items()]
    for entry in entries:
        if entry.name == "policy.pth":
            entry.crc = zlib.crc32(entry.data) ^ 1
    path = tmp_path / "model.zip"
    path.write_bytes(raw_zip(entries))
    with pytest.raises(CorruptCheckpoint, match=r"'policy\.pth' does not match its CRC-32"):
        scan(path)
