"""What is fuzzed: each target takes the bytes of an input, and may raise `SacdoctorError` only."""

from __future__ import annotations

import io
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacdoctor.archive.reading import Archive, Budget
from sacdoctor.checkpoint import Limits
from sacdoctor.checkpoint.dtypes import DTYPES
from sacdoctor.checkpoint.formats.safetensors import Safetensors
from sacdoctor.checkpoint.hyperparameters import Pickled, read_hyperparameters
from sacdoctor.checkpoint.legacy import read_legacy
from sacdoctor.checkpoint.optimizer_state import optimizer_state
from sacdoctor.checkpoint.tensors import Storage
from sacdoctor.checkpoint.torch_file import read_torch_archive
from sacdoctor.checkpoint.torch_names import TORCH_NAMES
from sacdoctor.diagnosis.scan import report_of_error
from sacdoctor.diagnosis.scan import scan as scan_file
from sacdoctor.errors import SacdoctorError
from sacdoctor.history.difference import diff as diff_files
from sacdoctor.pickles import ListedNames, Symbols, read_pickle
from sacdoctor.repair import RepairOptions
from sacdoctor.repair import fix as fix_file
from sacdoctor.report.formats import formats_for
from sacdoctor.report.results import DiffResult, FixResults, ScanResult
from sacdoctor.settings.document import Language
from sacdoctor.settings.fix_config import fix_text

Target = Callable[[bytes], None]


def opened(data: bytes) -> Archive:
    """The archive in `data`."""
    return Archive(memoryview(data), position=None, budget=Budget.of(len(data)))


def archive(data: bytes) -> None:
    """The zip reader: every member, and every archive in a member."""
    outer = opened(data)
    for name in outer:
        outer.position_of(name)
        if outer.start_of(name, 2) == b"PK":
            inner = outer.nested(name)
            for record in inner:
                inner.read(record)
        outer.read(name)


def listed(data: bytes) -> None:
    """The pickle machine with the names that state dicts need."""

    def storage(identity: Any) -> Storage:
        key = str(identity)[:9] if isinstance(identity, str) else "0"
        return Storage(key, DTYPES["float32"], 64, memoryview(bytes(256)))

    read_pickle(data, ListedNames(TORCH_NAMES, storage))


def symbols(data: bytes) -> None:
    """The pickle machine that takes every name, and the name of the class that it describes."""
    read_pickle(data, Symbols())


def data(data: bytes) -> None:
    """The settings in a checkpoint's JSON."""
    settings = read_hyperparameters(memoryview(data))
    for key, value in settings.items():
        settings.integer(key)
        settings.class_name(key)
        if isinstance(value, Pickled):
            value.pickle()


def optimizer(data: bytes) -> None:
    """A file that `torch.save` wrote of an optimizer's state."""
    state = optimizer_state(read_torch_archive(opened(data)).content)
    assert len(state.entries) >= 0
    for group in state.groups:
        assert group.learning_rate is None or isinstance(group.learning_rate, float)


def legacy(data: bytes) -> None:
    """The torch format before PyTorch 1.6; torch itself is loaded for it."""
    read_legacy(memoryview(data))


def safetensors(data: bytes) -> None:
    """A safetensors file with all of its tensors."""
    for tensor in Safetensors(memoryview(data), Limits.of(len(data))).tensors().values():
        tensor.values.tobytes()


def scan(data: bytes) -> None:
    """A whole scan with all of its outputs."""
    refused: SacdoctorError | None = None
    with written(data) as path:
        try:
            report = scan_file(path)
        except SacdoctorError as error:
            refused, report = error, report_of_error(error)
    shown(ScanResult([report], all_tensors=True))
    if refused is not None:
        raise refused


def fix(data: bytes) -> None:
    """A whole repair; of every other input the settings are corrected as well."""
    options = RepairOptions()
    if zlib.crc32(data) % 2:
        options = RepairOptions(learning_rate=1e-4, max_grad_norm=0.5)
    with written(data) as path:
        result = fix_file(path, output=path.with_name("out.zip"), options=options, force=True)
    shown(FixResults([result], several=False, dry_run=False))


def diff(data: bytes) -> None:
    """A comparison with a sound checkpoint, in both directions."""
    with written(data) as path:
        sound = path.with_name("sound.zip")
        sound.write_bytes(sound_checkpoint())
        for pair in ((path, sound), (sound, path)):
            shown(DiffResult(diff_files(*pair)))


def config(data: bytes) -> None:
    """A settings file, told or not which language it is in, and every form of its result."""
    languages = (None, *Language)
    fixed = fix_text(data, language=languages[zlib.crc32(data) % len(languages)])
    for form in languages:
        encodable(fixed.as_text(form))
    for render in (fixed.as_zoo, fixed.as_python):
        try:
            encodable(render())
        except SacdoctorError:
            continue


def replay_buffer(data: bytes) -> None:
    """A replay buffer with all of its rows, and a copy without the oldest."""
    from sacdoctor.replay import read_replay_buffer, write_without_oldest

    with written(data) as path:
        buffer = read_replay_buffer(path)
        for name in buffer.arrays:
            for rows in buffer.rows(name, 0, buffer.transitions):
                rows.tobytes()
        if buffer.size > 1:
            write_without_oldest(buffer, buffer.size // 2, path.with_suffix(".clean"))


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        *(archive, listed, symbols, data, optimizer, legacy, safetensors),
        *(scan, fix, diff, config, replay_buffer),
    )
}


def shown(result: object) -> None:
    """Every format that shows such a result can; what it writes as text is UTF-8."""
    for format in formats_for(type(result)):
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        format.write(result, out)
        out.flush()


def encodable(text: str) -> None:
    """What goes to a terminal or a file must be encodable there."""
    text.encode()


class written:  # noqa: N801  (used like the functions of contextlib)
    """A file with these bytes, in a folder of its own that is removed at the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> Path:
        self.folder = tempfile.TemporaryDirectory(dir=_memory())
        path = Path(self.folder.name, "model.zip")
        path.write_bytes(self.data)
        return path

    def __exit__(self, *exception: object) -> None:
        self.folder.cleanup()


def _memory() -> str | None:
    """Return a folder in memory, where the system has one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


_SOUND: list[bytes] = []


def sound_checkpoint() -> bytes:
    """The checkpoint that mutants are compared with; `set_sound` gives it."""
    return _SOUND[0]


def set_sound(data: bytes) -> None:
    _SOUND[:] = [data]
