"""Files that two readers take in two ways: which pickle is the one that counts?"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.archives import Entry, raw_zip, zip_of
from tests.payloads.assembly import NONE, whole
from tests.payloads.calls import Marks
from tests.payloads.hiding import MAGIC, torch_file

Members = Mapping[str, bytes]

# -- checkpoints of SB3 ----------------------------------------------------------------------------


def _settings(members: Members, pickle: bytes, key: str = "ep_info_buffer") -> bytes:
    settings = json.loads(members["data"])
    settings[key] = {":type:": "x", ":serialized:": base64.b64encode(pickle).decode()}
    return json.dumps(settings).encode()


def _entries(members: Members, **data: bytes) -> list[Entry]:
    return [Entry(key, data.get(key, value)) for key, value in members.items()]


def data_twice(members: Members, mark: Marks, first: bool) -> bytes:
    evil = Entry("data", _settings(members, mark.pickle))
    rest = _entries(members)
    return raw_zip([evil, *rest] if first else [*rest, evil])


def behind_a_nul(members: Members, mark: Marks) -> bytes:
    """Python ends a name at its first NUL."""
    rest = [entry for entry in _entries(members) if entry.name != "data"]
    evil = Entry("data\0.txt", _settings(members, mark.pickle))
    return raw_zip([*rest, evil])


def by_unicode_path(members: Members, mark: Marks) -> bytes:
    """An extra field gives a member another name (Info-ZIP, 0x7075)."""
    path = b"data"
    body = struct.pack("<BI", 1, zlib.crc32(b"readme.txt")) + path
    extra = struct.pack("<HH", 0x7075, len(body)) + body
    rest = [entry for entry in _entries(members) if entry.name != "data"]
    evil = Entry("readme.txt", _settings(members, mark.pickle), extra=extra)
    return raw_zip([*rest, evil])


def behind_a_sound_one(members: Members, mark: Marks) -> bytes:
    """Two archives one behind the other: the last one's end record counts."""
    return zip_of(members) + zip_of({**members, "data": _settings(members, mark.pickle)})


def before_a_sound_one(members: Members, mark: Marks) -> bytes:
    return zip_of({**members, "data": _settings(members, mark.pickle)}) + zip_of(members)


def within_a_comment(members: Members, mark: Marks) -> bytes:
    """The archive stands in the comment of another."""
    evil = zip_of({**members, "data": _settings(members, mark.pickle)})
    sound = _entries({k: v for k, v in members.items() if k == "data"})
    return raw_zip(sound, comment=evil[: 2**16 - 1])


def two_zip64_fields(members: Members, mark: Marks, first: bool) -> bytes:
    """Two extra fields say where `data` stands, and each means another."""
    evil, sound = _settings(members, mark.pickle), members["data"]
    size = max(len(evil), len(sound))
    evil, sound = evil.ljust(size), sound.ljust(size)
    places = {evil: 30 + len("data") + len(sound), sound: 0}
    fields = [evil, sound] if first else [sound, evil]
    extra = b"".join(struct.pack("<HHQ", 1, 8, places[field]) for field in fields)
    read = fields[0]  # Python takes the first; a checksum fits one of them
    rest = [entry for entry in _entries(members) if entry.name != "data"]
    told = Entry("data", sound, crc=zlib.crc32(read), offset=2**32 - 1, extra=extra)
    hidden = Entry("hidden", evil, local_name="data")
    return raw_zip([told, hidden, *rest])


def key_twice(members: Members, mark: Marks, first: bool) -> bytes:
    """A key of JSON that stands there twice: Python takes the last."""
    evil = {":type:": "x", ":serialized:": base64.b64encode(mark.pickle).decode()}
    told = [f'"ep_info_buffer": {json.dumps(evil)}', '"ep_info_buffer": null']
    if first:
        told.reverse()
    settings = members["data"].decode().strip().removeprefix("{")
    settings = settings.replace('"ep_info_buffer"', '"was_ep_info_buffer"')
    return zip_of({**members, "data": f"{{{', '.join(told)}, {settings}".encode()})


def serialized_twice(members: Members, mark: Marks, first: bool) -> bytes:
    """The same with the pickle itself."""
    both = [base64.b64encode(mark.pickle).decode(), base64.b64encode(whole(NONE)).decode()]
    if first:
        both.reverse()
    evil = "{" + ", ".join(f'":serialized:": "{text}"' for text in both) + "}"
    settings = members["data"].decode().strip().removeprefix("{")
    return zip_of({**members, "data": f'{{"zz": {evil}, {settings}'.encode()})


def base64_with(change: Callable[[str], str]) -> Callable[[Members, Marks], bytes]:
    """Python's decoder leaves out what is not base64."""

    def file(members: Members, mark: Marks) -> bytes:
        settings = json.loads(members["data"])
        settings["zz"] = {":serialized:": change(base64.b64encode(mark.pickle).decode())}
        return zip_of({**members, "data": json.dumps(settings).encode()})

    return file


def escaped_key(members: Members, mark: Marks) -> bytes:
    """A key written in escapes."""
    evil = base64.b64encode(mark.pickle).decode()
    settings = members["data"].decode().strip().removeprefix("{")
    escaped = r"\u003aserialized\u003a"
    return zip_of({**members, "data": f'{{"zz": {{"{escaped}": "{evil}"}}, {settings}'.encode()})


def in_a_folder(members: Members, mark: Marks) -> bytes:
    """SB3 reads every member that ends in .pth, wherever it stands."""
    return zip_of({**members, "a/b/more.pth": torch_file(mark)})


def with_plain(**settings: object) -> Callable[[Members, Marks], bytes]:
    """Settings that need no pickle."""

    def file(members: Members, mark: Marks) -> bytes:
        data = json.loads(members["data"]) | settings
        return zip_of({**members, "data": json.dumps(data).encode()})

    return file


CHECKPOINTS: dict[str, Callable[[Members, Marks], bytes]] = {
    "data twice, first": lambda n, m: data_twice(n, m, True),
    "data twice, last": lambda n, m: data_twice(n, m, False),
    "data and a NUL": behind_a_nul,
    "data by its extra field": by_unicode_path,
    "behind a sound archive": behind_a_sound_one,
    "before a sound archive": before_a_sound_one,
    "in the comment": within_a_comment,
    "two zip64 fields, first": lambda n, m: two_zip64_fields(n, m, True),
    "two zip64 fields, last": lambda n, m: two_zip64_fields(n, m, False),
    "key twice, first": lambda n, m: key_twice(n, m, True),
    "key twice, last": lambda n, m: key_twice(n, m, False),
    "pickle twice, first": lambda n, m: serialized_twice(n, m, True),
    "pickle twice, last": lambda n, m: serialized_twice(n, m, False),
    "base64 with spaces": base64_with(lambda t: " ".join(t)),
    "base64 with dashes": base64_with(lambda t: "-_-" + "-".join(t)),
    "base64 without its end": base64_with(lambda t: t.rstrip("=") + "==="),
    "base64 with more behind": base64_with(lambda t: t + "=====gASVAgAAAAAAAABOLg=="),
    "key in escapes": escaped_key,
    "member in a folder": in_a_folder,
    # `SAC.load` makes the environment that `env` names, and gymnasium imports the module before `:`
    "env of a module": with_plain(env="tests.payloads.on_import:Any-v0"),
}
"""From a checkpoint's members and a mark."""

# -- files of torch --------------------------------------------------------------------------------


def record_twice(mark: Marks, first: bool) -> bytes:
    records = [Entry("archive/data.pkl", mark.pickle), Entry("archive/data.pkl", whole(NONE))]
    if not first:
        records.reverse()
    return raw_zip([*records, Entry("archive/version", b"3\n")])


def another_case(mark: Marks, spelled: str, sound: bool) -> bytes:
    records = [Entry(f"archive/{spelled}", mark.pickle)]
    if sound:
        records.append(Entry("archive/data.pkl", whole(NONE)))
    return raw_zip([*records, Entry("archive/version", b"3\n")])


def another_root(mark: Marks, first: bool) -> bytes:
    """torch takes the folder of the first member."""
    records = [Entry("a/data.pkl", mark.pickle), Entry("a/version", b"3\n")]
    others = [Entry("b/data.pkl", whole(NONE)), Entry("b/version", b"3\n")]
    return raw_zip([*records, *others] if first else [*others, *records])


def tar(mark: Marks, place: str) -> bytes:
    """The format before PyTorch 0.1.10: a tar with four pickles' files."""
    parts = {
        "storages": whole(b"K\0") + whole(b"]"),
        "tensors": whole(b"K\0"),
        "pickle": whole(NONE),
    }
    parts[place] = mark.pickle + parts[place]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for key, data in parts.items():
            info = tarfile.TarInfo(key)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def legacy_part(mark: Marks, at: int) -> bytes:
    """Any of the five pickles of the format before PyTorch 1.6."""
    parts = [part + b"." for part in MAGIC.rstrip(b".").split(b".")] + [b"N.", b"]."]
    parts[at] = mark.pickle
    return b"".join(parts)


def storage_keys(mark: Marks) -> bytes:
    """A key that is an object."""
    return MAGIC + b"N." + whole(b"](" + mark.run + b"e")


def script(mark: Marks) -> bytes:
    """A TorchScript module, which torch.load runs: it saves a tensor when it is loaded."""
    import torch

    source = f"""
import torch

class Saves(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x
    @torch.jit.export
    def __getstate__(self) -> int:
        return 1
    @torch.jit.export
    def __setstate__(self, state: int) -> None:
        torch.save(torch.ones(1), {mark.path!r})
        self.training = False
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "saves.py")
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("saves", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        out = io.BytesIO()
        torch.jit.save(torch.jit.script(module.Saves()), out)
    return out.getvalue()


TORCH_FILES: dict[str, Callable[[Marks], bytes]] = {
    "record twice, first": lambda m: record_twice(m, True),
    "record twice, last": lambda m: record_twice(m, False),
    "record in capitals": lambda m: another_case(m, "DATA.PKL", False),
    "record in capitals, before a sound one": lambda m: another_case(m, "Data.pkl", True),
    "another root, first": lambda m: another_root(m, True),
    "another root, last": lambda m: another_root(m, False),
    **{
        f"tar's {place}": (lambda m, p=place: tar(m, p))
        for place in ("storages", "tensors", "pickle")
    },
    **{f"old pickle {at}": (lambda m, n=at: legacy_part(m, n)) for at in range(5)},
    "old storage keys": storage_keys,
    "TorchScript": script,
    "behind a pickle": lambda m: whole(NONE) + torch_file(m),
}
"""From a mark."""


def in_a_row(mark: Marks) -> bytes:
    """A second pickle behind the first: whoever reads on runs it."""
    return whole(NONE) + mark.pickle


def zip_behind_a_pickle(members: Members, mark: Marks) -> bytes:
    return whole(NONE) + zip_of({**members, "data": _settings(members, mark.pickle)})


def in_safetensors(mark: Marks) -> bytes:
    """A sound safetensors file. To a reader of pickles the length at its head pushes a text.

    Further texts reach from there to the end of the header, and what follows is the tensor's bytes.
    """
    content = mark.pickle
    size, begins = ord("X") | 40 << 8, 5 + 40  # X, and four bytes that say how long its text is
    head = '{"__metadata__":{"a":"'
    tail = f'"}},"t":{{"dtype":"U8","shape":[{len(content)}],"data_offsets":[0,{len(content)}]}}}}'
    letters = [*(head + "a" * (size - len(head) - len(tail)) + tail)]
    at = begins
    while at < 8 + size:
        left = 8 + size - at - 2
        step = left if left < 127 else ord(" ") + 1  # both are to be printable
        letters[at - 8 : at - 6] = "U", chr(step)
        at += 2 + step
    return struct.pack("<Q", size) + "".join(letters).encode() + content
