"""What a file is instead of a checkpoint: pages, pointers, archives, files of other libraries.

They are refused, by what they are, and with what to do. Adding one is adding a row to `KINDS`.
Of a file that opens as usual only the names of its members are asked about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.algorithms import SavedSettings
from sacdoctor.checkpoint.hyperparameters import Hyperparameters
from sacdoctor.errors import NotACheckpoint, UnsupportedCheckpoint
from sacdoctor.files import fetched, files_below

Told = Mapping[str, str]
"""What a file that was recognised tells of itself: it fills the braces in `words` and `remedy`."""

_READS = "sacdoctor reads what Stable-Baselines3's model.save() writes, and state dicts of PyTorch"
_STATE_DICT = "save the network's state_dict() with torch.save, which sacdoctor reads"
_UNPACK = "unpack it and name what is in it"
_HEAD = 4096
"""Bytes in which a text shows what it is."""


class Foreign(Struct, frozen=True):
    """A kind of file that is no checkpoint.

    - `words`: what it is, with its article.
    - `remedy`: what to do, or what is read in its place.
    - `by_members`: recognises a zip from the names of its members, and its settings; or a folder
      from the names of the files below it.
    - `by_bytes`: recognises a file that is no zip from its bytes.
    - `is_folder`: there are folders of that kind.
    - `packages`: those by which the library itself writes: that its files name them, or do with
      them what nobody can follow, is no attack.

    Both recognise with what the file tells of itself, and say None for any other file.
    """

    words: str
    remedy: str = _READS
    by_members: Callable[[Collection[str], SavedSettings], Told | None] | None = None
    by_bytes: Callable[[memoryview], Told | None] | None = None
    is_folder: bool = False
    packages: frozenset[str] = frozenset()


class ForeignCheckpoint(NotACheckpoint, UnsupportedCheckpoint):
    """The file is something else, and known as that."""

    def __init__(self, kind: Foreign) -> None:
        super().__init__(f"it is {kind.words}: {kind.remedy}")
        self.kind = kind


def foreign_kind(members: Collection[str], settings: SavedSettings) -> Foreign | None:
    """Return what a zip with these members is; None for nothing that is known."""
    # What macOS adds to an archive says nothing about it; nor do entries for folders.
    members = [m for m in members if not m.startswith("__MACOSX/") and not m.endswith("/")]
    return _known_by_members(KINDS, members, settings)


def foreign_folder(folder: str | Path) -> Foreign | None:
    """Return what a folder is, from the names below it; None for nothing that is known."""
    kinds = [kind for kind in KINDS if kind.is_folder]
    files = [file.relative_to(folder).as_posix() for file in files_below(folder, "")]
    return _known_by_members(kinds, files, Hyperparameters({}))


def foreign_bytes(buffer: memoryview) -> Foreign | None:
    """Return what a file is that is no checkpoint and no zip; None for nothing that is known."""
    for kind in KINDS:
        told = kind.by_bytes(buffer) if kind.by_bytes else None
        if told is not None:
            return _filled(kind, told)
    return None


def _known_by_members(
    kinds: Iterable[Foreign], members: Collection[str], settings: SavedSettings
) -> Foreign | None:
    for kind in kinds:
        told = kind.by_members(members, settings) if kind.by_members else None
        if told is not None:
            return _filled(kind, told)
    return None


def _filled(kind: Foreign, told: Told) -> Foreign:
    return replace(kind, words=kind.words.format(**told), remedy=kind.remedy.format(**told))


# -- zips and folders --------------------------------------------------------------------------


def _if(recognised: bool) -> Told | None:
    return {} if recognised else None


def _of_sb2(members: Collection[str], _: SavedSettings) -> Told | None:
    # stable_baselines/common/base_class.py, `_save_to_file_zip`
    return _if("parameters" in members and "parameter_list" in members)


def _of_sbx(_: Collection[str], settings: SavedSettings) -> Told | None:
    return _if((settings.class_name("policy_class") or "").startswith("sbx."))


def _of_rllib(members: Collection[str], _: SavedSettings) -> Told | None:
    # ray/rllib/utils/checkpoints.py and algorithms/algorithm.py, `save_checkpoint`
    marks = ("rllib_checkpoint.json", "algorithm_state.pkl", "policy_state.pkl")
    return _if(any(name.rpartition("/")[2] in marks for name in members))


def _of_torchscript(members: Collection[str], _: SavedSettings) -> Told | None:
    # torch/csrc/jit/serialization/export_module.cpp: one folder, its code beside its constants
    folder = next(iter(members), "").partition("/")[0]
    has_code = any(name.startswith(f"{folder}/code/") for name in members)
    return _if(has_code and f"{folder}/constants.pkl" in members)


def _of_keras(members: Collection[str], _: SavedSettings) -> Told | None:
    # keras/src/saving/saving_lib.py
    return _if({"config.json", "metadata.json", "model.weights.h5"} <= {*members})


def _of_saved_model(members: Collection[str], _: SavedSettings) -> Told | None:
    return _if(any(name.rpartition("/")[2] == "saved_model.pb" for name in members))


def _of_tensorflow(members: Collection[str], _: SavedSettings) -> Told | None:
    # tensorflow/core/util/tensor_bundle/naming.cc
    indexes = [name for name in members if name.endswith(".index")]
    return _if(any(f"{n.removesuffix('.index')}.data-00000-of-00001" in members for n in indexes))


def _of_arrays(members: Collection[str], _: SavedSettings) -> Told | None:
    return _if(bool(members) and all(name.endswith(".npy") for name in members))


def _of_folder(members: Collection[str], _: SavedSettings) -> Told | None:
    """A checkpoint that was unpacked and packed again with its folder."""
    folders = [name[: -len("policy.pth")] for name in members if name.endswith("/policy.pth")]
    found = [folder for folder in folders if f"{folder}data" in members]
    if not found:
        return None
    # Whoever types the command types this name, which anybody may have chosen.
    is_harmless = re.fullmatch(r"\w[\w./-]*", found[0], re.ASCII) and ".." not in found[0]
    return {"folder": found[0] if is_harmless else "FOLDER/", "more": _and_others(found)}


def _of_unpacked(members: Collection[str], _: SavedSettings) -> Told | None:
    folders = [name[: -len("policy.pth")] for name in members if name.endswith("policy.pth")]
    return _if(any(f"{folder}data" in members for folder in folders))


def _of_zips(members: Collection[str], _: SavedSettings) -> Told | None:
    found = [name for name in members if name.lower().endswith((".zip", ".pth", ".pt"))]
    loose = "policy.pth" not in members and not any(name.endswith("/data.pkl") for name in members)
    return {"member": found[0], "more": _and_others(found)} if found and loose else None


def _and_others(found: Collection[str]) -> str:
    return f" and {len(found) - 1} more" if len(found) > 1 else ""


# -- other files -------------------------------------------------------------------------------


def _starting(*starts: bytes, at: int = 0) -> Callable[[memoryview], Told | None]:
    return lambda buffer: _if(any(bytes(buffer[at : at + len(s)]) == s for s in starts))


def _pointer(buffer: memoryview) -> Told | None:
    # https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    text = bytes(buffer[:1024])
    size = re.search(rb"^size (\d{1,19})$", text, re.MULTILINE)
    if not text.startswith(b"version https://git-lfs.github.com/spec/") or size is None:
        return None
    return {"size": f"{int(size[1]):,}"}


def _page(buffer: memoryview) -> Told | None:
    text = _beginning(buffer)
    if re.match(
        r"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype html|html|head)\b", text, re.I | re.S
    ):
        title = re.search(r"<title[^>]*>\s*([^<]{1,60})", text, re.I)
        return {"title": f" (“{_in_words(title[1])}”)" if title else ""}
    return None


def _in_words(text: str) -> str:
    from html import unescape

    return " ".join(unescape(text).split())


def _xml(buffer: memoryview) -> Told | None:
    text = _beginning(buffer)
    code = re.search(r"<Code>(\w{1,40})</Code>", text)
    if not text.startswith(("<?xml", "<Error>")):
        return None
    return {"code": f" ({code[1]})" if code else ""}


def _json(buffer: memoryview) -> Told | None:
    text = _beginning(buffer)
    if not re.match(r'\{\s*("|\})|\[\s*["\d\[{\]-]', text):
        return None
    if len(buffer) > _HEAD:
        return {}
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return {}


_YAML_LINE = r"(- )?[\w.\"' -]{1,80}:( .*)?$|- .*$|---$|\.\.\.$"


def _yaml(buffer: memoryview) -> Told | None:
    """Text whose every line that is not indented is a comment, a key or an item of a list."""
    lines = [line.rstrip() for line in _beginning(buffer).splitlines()]
    if len(buffer) > _HEAD:
        del lines[-1:]  # it may be cut
    outer = [line for line in lines if line and line[0] not in " \t#"]
    has_key = any(re.match(r"[\w.\"'-]+:", line) for line in outer)
    return _if(has_key and all(re.match(_YAML_LINE, line) for line in outer))


def _beginning(buffer: memoryview) -> str:
    """Return how a text begins; empty where the bytes are none."""
    start = bytes(buffer[:_HEAD]).removeprefix(b"\xef\xbb\xbf")
    if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", start):
        return ""
    return start.decode("utf-8", "replace").lstrip()


def _hdf5(buffer: memoryview) -> Told | None:
    # HDF5 File Format Specification, II.A: at 0, or after a user block of 512, 1024, … bytes
    places = (0, 512, 1024, 2048)
    return _if(any(bytes(buffer[at : at + 8]) == b"\x89HDF\r\n\x1a\n" for at in places))


def _onnx(buffer: memoryview) -> Told | None:
    # onnx/onnx.proto, ModelProto: ir_version 1, graph 7, opset_import 8
    return _if(_protobuf_fields(buffer) >= {1, 7, 8})


def _saved_model(buffer: memoryview) -> Told | None:
    # tensorflow/core/protobuf/saved_model.proto: schema version 1 (always 1), meta_graphs 2
    return _if(bytes(buffer[:3]) == b"\x08\x01\x12" and _protobuf_fields(buffer) == {1, 2})


def _protobuf_fields(buffer: memoryview) -> set[int]:
    """Return the outermost fields of a protobuf message; none where the bytes are not one.

    https://protobuf.dev/programming-guides/encoding
    """
    found: set[int] = set()
    at = 0
    for _ in range(10_000):
        if at == len(buffer):
            return found
        key, at = _varint(buffer, at)
        found.add(key >> 3)
        match key & 7:
            case 0:
                _, at = _varint(buffer, at)
            case 2:
                size, at = _varint(buffer, at)
                at += size
            case kind if kind in (1, 5):
                at += 8 if kind == 1 else 4
            case _:
                break
        if at > len(buffer):
            break
    return set()


def _varint(buffer: memoryview, at: int) -> tuple[int, int]:
    """Return a number and where it ends; beyond the buffer where there is none."""
    value = 0
    for count, byte in enumerate(bytes(fetched(buffer[at : at + 10]))):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    return 0, len(buffer) + 1


def _tensorflow_index(buffer: memoryview) -> Told | None:
    # tensorflow/core/lib/io/format.h: `kTableMagicNumber` ends a table, as in LevelDB
    return _if(bytes(buffer[-8:]) == bytes.fromhex("57fb808b247547db"))


def _zeros(buffer: memoryview) -> Told | None:
    """Nothing but zeros: what a download or copy leaves that reserved the space and stopped."""
    step = 1024**2
    if any(bytes(buffer[:_HEAD])):
        return None
    is_zero = all(
        not any(bytes(fetched(buffer[at : at + step]))) for at in range(0, len(buffer), step)
    )
    return {"size": f"{len(buffer):,}"} if is_zero else None


_DOWNLOAD = "download the file itself, signed in where that is needed"
_SETTINGS = "it may be settings, which `sacdoctor fix-config` reads, but it holds no weights"

KINDS = (
    Foreign(
        "a Stable-Baselines 2 zip (TensorFlow)",
        by_members=_of_sb2,
        packages=frozenset(("dill", "stable_baselines", "tensorflow")),
    ),
    Foreign(
        "an SBX zip (JAX)",
        by_members=_of_sbx,
        packages=frozenset(("sbx", "jax", "jaxlib", "flax", "optax", "tensorflow_probability")),
    ),
    Foreign(
        "a checkpoint of RLlib",
        f"of a policy with a PyTorch model, {_STATE_DICT}",
        by_members=_of_rllib,
        is_folder=True,
        packages=frozenset(("ray", "gymnasium", "gym", "tree")),
    ),
    Foreign(
        "a TorchScript module",
        f"it holds a program beside the weights; {_STATE_DICT}",
        by_members=_of_torchscript,
        packages=frozenset(("__torch__",)),
    ),
    Foreign("a Keras model", by_members=_of_keras),
    Foreign(
        "a SavedModel of TensorFlow",
        by_members=_of_saved_model,
        by_bytes=_saved_model,
        is_folder=True,
    ),
    Foreign(
        "a checkpoint of TensorFlow",
        by_members=_of_tensorflow,
        by_bytes=_tensorflow_index,
        is_folder=True,
    ),
    Foreign("an archive of NumPy arrays (.npz)", "it holds no checkpoint", by_members=_of_arrays),
    Foreign(
        "a checkpoint that was unpacked and packed again with its folder ({folder}{more})",
        "SB3 cannot load it either; pack what lies in the folder: `python -m zipfile -e FILE . && "
        "python -m zipfile -c repacked.zip {folder}*`",
        by_members=_of_folder,
    ),
    Foreign(
        "a checkpoint of SB3 that was unpacked",
        "pack what lies in the folder: `python -m zipfile -c model.zip FOLDER/*`",
        by_members=_of_unpacked,
        is_folder=True,
    ),
    Foreign(
        "a zip archive with checkpoints in it ({member}{more})",
        "unpack it, and scan what comes out: `python -m zipfile -e FILE unpacked && "
        "sacdoctor scan unpacked`",
        by_members=_of_zips,
    ),
    Foreign(
        "a Git LFS pointer, which stands for a file of {size} bytes",
        "fetch that with `git lfs pull`",
        by_bytes=_pointer,
    ),
    Foreign("an HTML page{title}", _DOWNLOAD, by_bytes=_page),
    Foreign("an XML document{code}, perhaps a server's refusal", _DOWNLOAD, by_bytes=_xml),
    Foreign(
        "an ONNX model",
        "it holds a graph without what training left; scan the checkpoint it was exported from",
        by_bytes=_onnx,
    ),
    Foreign("an HDF5 file, as Keras writes its weights", by_bytes=_hdf5),
    Foreign("a NumPy array (.npy)", "it holds no checkpoint", by_bytes=_starting(b"\x93NUMPY")),
    Foreign("a tar archive", _UNPACK, by_bytes=_starting(b"ustar", at=257)),
    Foreign("a gzip file", _UNPACK, by_bytes=_starting(b"\x1f\x8b\x08")),
    Foreign(
        "a compressed file (bzip2, xz, zstd, 7z or RAR)",
        _UNPACK,
        by_bytes=_starting(
            *(b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
        ),
    ),
    Foreign(
        "neither a zip nor a file that torch.save wrote, but {size} zero bytes",
        "the download or copy was not finished; fetch it again",
        by_bytes=_zeros,
    ),
    Foreign("a JSON file", _SETTINGS, by_bytes=_json),
    Foreign("a YAML file", _SETTINGS, by_bytes=_yaml),
)
