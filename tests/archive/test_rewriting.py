"""Archives are rewritten without being re-made: the standard library reads them, and agrees."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from sacdoctor.archive.reading import Archive, Budget
from sacdoctor.archive.rewriting import rewrite
from sacdoctor.repair import fix
from tests.archives import DEFLATED, STORED, members_of, saved, sb3_members, zip_of
from tests.repair import truth
from tests.torch_truth import state_dict

LAYER = {"actor.mu.weight": th.ones(64, 8), "actor.mu.bias": th.zeros(64), "log_std": th.ones(3)}


def rewritten(
    data: bytes, replaced: Mapping[str, bytes], added: Mapping[str, bytes] | None = None
) -> bytes:
    archive = Archive(memoryview(data), position=None, budget=Budget.of(len(data)))
    parts = {name: [content] for name, content in replaced.items()}
    return b"".join(bytes(piece) for piece in rewrite(archive, parts, added))


def facts(data: bytes) -> list[tuple[Any, ...]]:
    """What the directory says of each member, but for what its content decides."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [
            (
                *(i.filename, i.date_time, i.compress_type, i.comment, i.flag_bits, i.extra[:2]),
                *(i.create_system, i.create_version, i.extract_version, i.external_attr),
            )
            for i in archive.infolist()
        ]


def assert_is(data: bytes, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == members
        assert archive.namelist() == [*members]


class Unseekable(io.RawIOBase):
    """A stream to write on: zipfile then puts sizes behind the data, into descriptors."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += bytes(data)
        return len(data)


CONTENTS = st.one_of(st.binary(max_size=40), st.binary(max_size=8).map(lambda b: 999 * b))
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\"), min_size=1, max_size=9)
LAYOUTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from([STORED, DEFLATED]),
        "zip64": st.booleans(),
        "streamed": st.booleans(),
        # With a magic number in its comment, zipfile cannot open its own archive.
        "comment": st.binary(max_size=9).filter(lambda comment: b"PK" not in comment),
        "extra": st.sampled_from([b"", b"FB\x03\0ZZZ", b"UT\x05\0\x01abcd"]),
    }
)

PLAIN = {"method": STORED, "zip64": False, "streamed": False, "comment": b"", "extra": b""}


def archive_of(members: Mapping[str, bytes], layout: Mapping[str, Any]) -> bytes:
    seekable, stream = io.BytesIO(), Unseekable()
    out: Any = stream if layout["streamed"] else seekable
    with zipfile.ZipFile(out, "w", layout["method"]) as archive:
        archive.comment = layout["comment"]
        for number, (name, content) in enumerate(members.items()):
            info = zipfile.ZipInfo(name, (1999 + number, 2, 3, 4, 5, 6))
            # Methods mixed in one archive, as when a file is added to a compressed one.
            info.compress_type = layout["method"] if number % 2 else STORED
            info.comment, info.extra = layout["comment"], layout["extra"]
            info.external_attr = 0o640 << 16
            with archive.open(info, "w", force_zip64=layout["zip64"]) as member:
                member.write(content)
    return bytes(stream.data) if layout["streamed"] else seekable.getvalue()


@settings(max_examples=150, deadline=None)
@given(st.data(), st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=6), LAYOUTS)
def test_any_members_of_any_archive_can_be_exchanged(
    data: st.DataObject, members: dict[str, bytes], layout: dict[str, Any]
) -> None:
    original = archive_of(members, layout)
    chosen = data.draw(st.sets(st.sampled_from([*members])))
    replaced = {name: data.draw(CONTENTS) for name in chosen}
    added = {f"{name}/new": content for name, content in replaced.items()}
    after = rewritten(original, replaced, added)
    assert_is(after, {**members, **replaced, **added})
    assert facts(after)[: len(members)] == facts(original)
    with zipfile.ZipFile(io.BytesIO(after)) as archive:
        assert archive.comment == layout["comment"]


def test_large_members_with_changes_anywhere_have_true_checksums() -> None:
    """Of a large member of the same size only the changed parts are read."""
    old = bytes(range(256)) * 8192
    data = zip_of({"large": old, "small": b"x"})
    archive = Archive(memoryview(data), position=None, budget=Budget.of(len(data)))
    place = archive["large"].data_offset
    kept = archive.buffer[place : place + len(old)]
    pieces = [kept[:7], b"changed", kept[14:70_000], b"", bytes(5), kept[70_005:-1], b"\0"]
    new = b"".join(bytes(piece) for piece in pieces)
    assert len(new) == len(old)
    assert_is(
        b"".join(bytes(piece) for piece in rewrite(archive, {"large": pieces})),
        {"large": new, "small": b"x"},
    )


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=6), LAYOUTS)
def test_nothing_exchanged_is_the_same_archive(
    members: dict[str, bytes], layout: dict[str, Any]
) -> None:
    original = archive_of(members, layout)
    assert rewritten(original, {}) == original


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=6), LAYOUTS)
def test_there_and_back_is_the_same_archive(
    members: dict[str, bytes], layout: dict[str, Any]
) -> None:
    """Stored members of other sizes and checksums leave no trace once they are gone again."""
    layout["method"] = STORED  # deflated data depends on who deflates
    original = archive_of(members, layout)
    other = rewritten(original, {name: content + b"more" for name, content in members.items()})
    assert rewritten(other, members) == original


def test_an_archive_with_64_bit_records_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    members = {"a": 99 * b"a", "b": b"b", "c": 99 * b"c"}
    original = archive_of(members, {**PLAIN, "zip64": True})
    assert b"PK\6\6" in original
    assert b"PK\6\7" in original
    after = rewritten(original, {"b": 55 * b"B"}, {"d": b"new"})
    assert_is(after, {**members, "b": 55 * b"B", "d": b"new"})
    assert after.count(b"PK\6\6") == after.count(b"PK\6\7") == 1
    assert rewritten(original, {}) == original


def test_bytes_between_members_stay() -> None:
    """What aligns a member, or what a tool left behind, is part of the file."""
    original = zip_of({"a": b"aaaa"})
    end = original.index(b"PK\1\2")
    gap = b"left behind by a tool"
    record = bytearray(original[end:])
    at = record.index(b"PK\5\6")
    record[at + 16 : at + 20] = (end + len(gap)).to_bytes(4, "little")
    original = original[:end] + gap + bytes(record)
    after = rewritten(original, {"a": b"bbbbbb"})
    assert gap in after
    assert_is(after, {"a": b"bbbbbb"})


def test_new_members_carry_no_date_of_today() -> None:
    after = rewritten(zip_of({"a": b""}), {}, {"new": b"x"})
    with zipfile.ZipFile(io.BytesIO(after)) as archive:
        info = archive.getinfo("new")
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
    assert info.compress_type == STORED
    assert not info.is_dir()


# -- whole checkpoints in odd layouts ----------------------------------------------------------


def repaired(folder: Path, data: bytes, name: str = "m.zip") -> bytes:
    """What `fix` makes of these bytes; torch and zipfile must find it sound."""
    (folder / name).write_bytes(data)
    result = fix(folder / name)
    assert result.output is not None
    return Path(result.output).read_bytes()


def assert_repaired(before: Mapping[str, th.Tensor], after: Mapping[str, th.Tensor]) -> None:
    truth.assert_only_zeros_changed(before, after)
    assert not truth.dead_biases(after, share=0.0)


@pytest.mark.parametrize("zip64", [False, True], ids=["zip", "zip64"])
@pytest.mark.parametrize("inner", [STORED, DEFLATED], ids=["inner-stored", "inner-deflated"])
@pytest.mark.parametrize("outer", [STORED, DEFLATED], ids=["stored", "deflated"])
def test_checkpoints_in_every_compression(
    tmp_path: Path, outer: int, inner: int, zip64: bool
) -> None:
    members = sb3_members(zip_of(members_of(saved(LAYER)), inner, zip64))
    after = repaired(tmp_path, zip_of(members, outer, zip64))
    assert_repaired(LAYER, state_dict(tmp_path / "m_FIXED.zip"))
    truth.assert_sound(tmp_path / "m_FIXED.zip")
    assert {info[2] for info in facts(after)[: len(members)]} == {outer}
    policy = members_of(after)["policy.pth"]
    assert {info[2] for info in facts(policy)} == {inner}


def test_what_a_person_put_beside_the_members_stays(tmp_path: Path) -> None:
    extras = {
        "README.txt": b"trained on a Tuesday",
        "replay/video.mp4": bytes(range(256)) * 40,
        "replay/": b"",
        "notes/é.md": b"# notes",
        "best.pth": b"not a torch file at all",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.comment = b"run 7"
        for number, (name, data) in enumerate({**sb3_members(LAYER), **extras}.items()):
            info = zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6))
            info.compress_type = DEFLATED if number % 2 else STORED
            info.comment = b"by hand"
            info.external_attr = 0o600 << 16
            archive.writestr(info, data)
    before = out.getvalue()
    after = repaired(tmp_path, before)
    contents = members_of(after)
    assert {name: contents[name] for name in extras} == extras
    assert facts(after)[:-1] == facts(before)
    assert facts(after)[-1][0] == truth.RECORD
    truth.assert_surgical(tmp_path / "m.zip", tmp_path / "m_FIXED.zip", {"policy.pth"})
    with zipfile.ZipFile(io.BytesIO(after)) as archive:
        assert archive.comment == b"run 7"
        assert archive.testzip() is None


@pytest.mark.parametrize("prefix", ["archive", "policy", "ü ber", "policy.pth"])
def test_inner_prefixes_are_whatever_the_file_was_called(tmp_path: Path, prefix: str) -> None:
    members = members_of(saved(LAYER))
    renamed = {name.replace("archive", prefix, 1): data for name, data in members.items()}
    after = repaired(tmp_path, zip_of(sb3_members(zip_of(renamed))))
    policy = members_of(members_of(after)["policy.pth"])
    assert [*policy] == [*renamed]
    back = zip_of({name.replace(prefix, "archive", 1): data for name, data in policy.items()})
    assert_repaired(LAYER, truth.load(back))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ""])
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_bare_state_dicts_are_repaired_in_place_of_their_own(
    tmp_path: Path, suffix: str, nested: bool
) -> None:
    state = {"epoch": 7, "state_dict": LAYER} if nested else LAYER
    before = saved(state)
    after = repaired(tmp_path, before, f"weights{suffix}")
    assert (tmp_path / f"weights_FIXED{suffix}").exists()
    loaded = truth.load(after)
    if nested:
        assert loaded["epoch"] == 7
        loaded = loaded["state_dict"]
    assert_repaired(LAYER, loaded)
    assert len(after) == len(before)
    assert facts(after) == facts(before)
    with zipfile.ZipFile(io.BytesIO(after)) as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_bare_state_dicts_in_the_old_format_stay_in_it(tmp_path: Path, nested: bool) -> None:
    before = saved({"model_state_dict": LAYER} if nested else LAYER, legacy=True)
    after = repaired(tmp_path, before, "weights.pth")
    loaded = truth.load(after)
    assert_repaired(LAYER, loaded["model_state_dict"] if nested else loaded)
    # Outside of the values of its tensors nothing has changed.
    at = before.rindex(b".") + 1
    assert (len(after), after[:at]) == (len(before), before[:at])


@pytest.mark.parametrize("dtype", [th.float16, th.bfloat16, th.float32, th.float64], ids=str)
def test_members_in_the_old_format_are_repaired_where_they_stand(
    tmp_path: Path, dtype: th.dtype
) -> None:
    state = {name: tensor.to(dtype) for name, tensor in LAYER.items()}
    state["turned.weight"] = th.arange(6.0, dtype=dtype).reshape(2, 3).T
    state["turned.bias"] = th.tensor([[1.0, 0.0, 0.0]], dtype=dtype).T[:, 0]
    data = zip_of(sb3_members(saved(state, legacy=True)))
    after = repaired(tmp_path, data)
    assert_repaired(state, state_dict(tmp_path / "m_FIXED.zip"))
    truth.assert_sound(tmp_path / "m_FIXED.zip")
    (tmp_path / "m_FIXED.zip").unlink()
    assert repaired(tmp_path, data) == after
    contents, original = members_of(after), members_of(data)
    assert [n for n in original if contents[n] != original[n]] == ["policy.pth"]


def test_a_hand_packed_file_in_a_member_stays_as_it_was(tmp_path: Path) -> None:
    """A zip among the extras, of which nobody here knows anything, even one that is damaged."""
    inner = bytearray(zip_of({"x": b"y" * 50}))
    inner[40] ^= 0xFF
    data = zip_of({**sb3_members(LAYER), "old.zip": bytes(inner)})
    assert members_of(repaired(tmp_path, data))["old.zip"] == bytes(inner)
