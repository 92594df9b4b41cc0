"""Files made to break the reader: small ones that unfold without end, numbers and names past all
bounds. Every command ends soon, with a result or with one line."""

from __future__ import annotations

import base64
import json
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch as th

from tests.archives import (
    DEFLATED,
    Entry,
    raw_zip,
    saved,
    sb3_members,
    tensor_pickle,
    torch_zip,
    zip_of,
)
from tests.conftest import Run

pytestmark = pytest.mark.slow

MIB = 1024**2
POLICY = {"fc.weight": th.ones(4, 4), "fc.bias": th.zeros(4)}
EMPTY_STATE = {"state": {}, "param_groups": [{"params": [0, 1], "lr": 1e-3}]}


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(data)) + data


def laughs(levels: int = 60) -> bytes:
    """A tuple that holds another twice, which holds another twice, …: 2^60 values in 300 bytes."""
    return b"N\x85" + b"p99\ng99\n\x86" * levels


def sound(**members: bytes) -> bytes:
    return zip_of(sb3_members(POLICY) | {name.replace("__", "."): m for name, m in members.items()})


def policy(pickle: bytes, storage: bytes = bytes(16)) -> bytes:
    return sound(policy__pth=torch_zip(pickle, {"0": storage}))


def optimizer(option: bytes = b"", state: bytes = b"}", params: bytes = b"]K\0a") -> bytes:
    """A checkpoint whose optimizer has this option (key and value) and this state."""
    group = b"}(" + text("params") + params + option + b"u"
    pickle = b"\x80\x02}(" + text("state") + state + text("param_groups") + b"]" + group + b"au."
    return sound(policy__optimizer__pth=torch_zip(pickle))


def deflated(name: str, data: bytes) -> bytes:
    members = sb3_members(POLICY)
    if name == "policy.pth":
        data = raw_zip([Entry("archive/data.pkl", data, method=DEFLATED)])
    members[name] = data
    return raw_zip([Entry(n, d, method=DEFLATED) for n, d in members.items()])


def views(count: int, mebibytes: int) -> bytes:
    """Tensors that all look at one storage, each from another element on."""
    numel = mebibytes * MIB // 4
    one = tensor_pickle(numel=numel, shape=(numel - count,))
    start, end = len(b"\x80\x02ccollections\nOrderedDict\n)R("), -len(b"u.")
    body = b"".join(
        one[start:end]
        .replace(text("layer.bias"), text(f"layer{n}.bias"))
        .replace(b"L0L\n", b"L%dL\n" % n, 1)
        for n in range(count)
    )
    return policy(b"\x80\x02}(" + body + b"u.", bytes(4 * numel))


def old_format(pickle: bytes) -> bytes:
    """A policy in the format before PyTorch 1.6 with another pickle in it."""
    import io
    import pickle as pickles

    file = io.BytesIO(saved(POLICY, legacy=True))
    for _ in range(3):
        pickles.load(file)
    return sound(policy__pth=file.getvalue()[: file.tell()] + pickle + pickles.dumps([]))


def colliding_keys() -> bytes:
    """Whole numbers hash modulo 2^61 − 1: an OrderedDict whose keys share one hash."""
    numbers = (n * (2**61 - 1) for n in range(60_000))
    pairs = b"".join(b"\x8a\x0b" + n.to_bytes(11, "little") + b"N\x86" for n in numbers)
    return b"\x80\x02ccollections\nOrderedDict\n](" + pairs + b"e\x85R."


HUGE = b"L" + b"9" * 400 + b"L\n"
MANY = b"](" + b"".join(b"J" + struct.pack("<I", n) for n in range(100_000)) + b"e"
HALF = b"\xed\xa0\x80"  # half of a surrogate pair: no text that UTF-8 can hold

FILES: dict[str, Callable[[], bytes]] = {
    "shape-without-end-as-text": lambda: policy(tensor_pickle().replace(b"(L4L\nt", laughs())),
    "stride-and-shape-without-end": lambda: policy(
        tensor_pickle().replace(b"(L4L\nt", laughs()).replace(b"(L1L\nt", laughs())
    ),
    "element-type-without-end": lambda: policy(b"\x80\x02cnumpy\ndtype\n" + laughs() + b"\x85R."),
    "size-without-end": lambda: policy(b"\x80\x02ctorch\nSize\n" + laughs() + b"\x85R."),
    "keys-that-share-a-hash": lambda: policy(colliding_keys()),
    "views-of-one-storage": lambda: views(400, 8),
    "rate-without-end": lambda: optimizer(text("lr") + HUGE),
    "rate-of-nested-tuples": lambda: optimizer(text("lr") + laughs()),
    "option-of-nested-tuples": lambda: optimizer(text("betas") + laughs()),
    "option-that-holds-itself": lambda: optimizer(text("betas") + b"]p9\ng9\na"),
    "option-that-is-deep": lambda: optimizer(text("betas") + b"]" * 9999 + b"a" * 9998),
    "key-of-nested-tuples": lambda: optimizer(laughs() + b"N"),
    "step-without-end": lambda: optimizer(state=b"}K\0}" + text("step") + HUGE + b"ss"),
    "moment-of-nested-tuples": lambda: optimizer(state=b"}K\0}" + text("a") + laughs() + b"ss"),
    "entries-by-the-thousand": lambda: optimizer(params=MANY),
    "entry-of-19-digits": lambda: optimizer(params=b"]L1000000000000000000L\na"),
    "entry-below-zero": lambda: optimizer(params=b"]I-5\na"),
    "optimizers-by-the-hundred": lambda: sound(
        **{f"x{n}__optimizer__pth": saved(EMPTY_STATE) for n in range(300)}
    ),
    "numbers-past-all-bounds": lambda: sound(
        data=b'{"learning_rate":1e999,"num_timesteps":-1e999,"n_updates":NaN,"_n_updates":1e308,'
        b'"learning_starts":' + b"9" * 4000 + b"}"
    ),
    "settings-300-deep": lambda: sound(data=b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"),
    "settings-900-deep": lambda: sound(data=b'{"a":' + b'{"a":' * 900 + b"1" + b"}" * 901),
    "half-characters-in-settings": lambda: sound(
        data=json.dumps(
            {"\ud800": "\udfff", "policy_class": {":type:": "\ud800", ":serialized:": "\ud800"}}
        ).encode()
    ),
    "half-a-character-in-a-name": lambda: policy(
        tensor_pickle().replace(text("layer.bias"), text(HALF + b".bias"))
    ),
    "name-of-a-megabyte": lambda: policy(tensor_pickle(name="a_" * (MIB // 2) + ".bias")),
    "names-that-lead-out": lambda: zip_of(
        sb3_members(POLICY) | {"../../up": b"", "/root": b"", "..": b"", "a\n\x1b[2J": b""}
    ),
    "class-of-a-megabyte": lambda: sound(
        data=json.dumps(
            {
                "policy_class": {
                    ":type:": "type",
                    ":serialized:": base64.b64encode(b"c" + b"a" * MIB + b"\nb\n.").decode(),
                }
            }
        ).encode()
    ),
    "old-format-of-nested-lists": lambda: old_format(
        b"\x80\x02]" + b"q\x01](h\x01h\x01e" * 60 + b"."
    ),
    "old-format-that-holds-itself": lambda: old_format(b"\x80\x02]q\x01h\x01a."),
    "old-format-that-is-deep": lambda: old_format(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."),
    "old-format-of-an-odd-protocol": lambda: old_format(b"\x80\x7d]."),
    "record-of-earlier-repairs-that-is-deep": lambda: zip_of(
        sb3_members(POLICY) | {"sacdoctor.json": b'{"repairs":[' + b"[" * 700 + b"]" * 700 + b"]}"}
    ),
}

UNFOLDING: dict[str, Callable[[], bytes]] = {
    "lists": lambda: deflated("policy.pth", b"\x80\x02" + b"]" * 20 * MIB + b"."),
    "values": lambda: deflated("data", b'{"a":[' + b"[]," * 10 * MIB + b"[]]}"),
    "blanks": lambda: deflated("data", b"{}" + b" " * 63 * MIB),
}


@pytest.mark.parametrize("case", FILES)
def test_every_command_ends_with_a_result_or_one_line(
    case: str, run: Run, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path, other = tmp_path / "model.zip", tmp_path / "other.zip"
    path.write_bytes(FILES[case]())
    other.write_bytes(sound(policy__optimizer__pth=saved(EMPTY_STATE), data=b'{"a": 1}'))
    for command in (
        ("scan", path, "--all"),
        ("scan", path, "--format", "json"),
        ("scan", path, "--format", "html"),
        ("diff", other, path),
        ("diff", path, other, "--format", "json"),
        ("fix", path, "--output", tmp_path / "fixed.zip"),
        ("fix-config", path, "--algorithm", "SAC"),
    ):
        outcome = run(*command)
        outcome.out.encode()
        if outcome.code == 2:
            assert outcome.complaint.startswith("sacdoctor: ")
            assert len(outcome.complaint) < 1000
        else:
            assert outcome.err == ""
    assert not recwarn.list


@pytest.mark.parametrize("case", UNFOLDING)
def test_what_unfolds_stays_within_half_a_gibibyte(case: str, shell: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(UNFOLDING[case]())
    assert path.stat().st_size < MIB

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (512 * MIB, 512 * MIB))

    outcome = shell("scan", path, preexec_fn=limited)
    assert outcome.code == 2
    assert outcome.complaint


def test_a_member_name_of_60_kilobytes_is_cut_short(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(zip_of(sb3_members(POLICY) | {"x" * 60_000 + ".optimizer.pth": b"PKbad"}))
    outcome = run("scan", path)
    assert outcome.code == 2
    assert len(outcome.complaint) < 1500


def test_a_member_that_is_a_link_is_read_as_bytes(run: Run, tmp_path: Path) -> None:
    """Nothing is ever unpacked, so a link in the archive leads nowhere."""
    import stat
    import zipfile

    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in sb3_members(POLICY).items():
            if name != "policy.pth":
                archive.writestr(name, data)
        link = zipfile.ZipInfo("policy.pth")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, b"/etc/passwd")
    outcome = run("scan", path)
    assert outcome.code == 2
    assert "policy.pth" in outcome.complaint


def test_a_pickle_that_no_pickler_writes_is_not_edited(run: Run, tmp_path: Path) -> None:
    """Python's unpickler reads the number 0x7, its own pickletools do not."""
    members = sb3_members(POLICY, {"learning_rate": 0.1})
    pickle = b"\x80\x02}(" + text("state") + b"}" + text("param_groups") + b"]}("
    pickle += text("params") + b"]I0x7\na" + text("lr") + b"K\x01uau."
    path = tmp_path / "model.zip"
    path.write_bytes(zip_of(members | {"policy.optimizer.pth": torch_zip(pickle)}))
    outcome = run("fix", path, "--learning-rate", "1e-4")
    assert outcome.code == 2
    assert outcome.complaint.endswith("its pickle is not one that Python's pickler writes")
