"""The zip that SB3's `model.save()` writes: a torch file each for policy, optimizers, variables.

Beside them stand the settings as JSON (`data`) and the version of SB3. Source:
stable_baselines3/common/save_util.py, `save_to_zip_file`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from sacdoctor.archive import Archive, Pieces, rewrite
from sacdoctor.checkpoint.edit import edited_torch_file, names_in_torch_file
from sacdoctor.checkpoint.edits import Edits, ElementEdit
from sacdoctor.checkpoint.foreign import Foreign, foreign_kind
from sacdoctor.checkpoint.formats.interface import RECORD, Container, Contents, PickleFile
from sacdoctor.checkpoint.hyperparameters import Hyperparameters, read_hyperparameters
from sacdoctor.checkpoint.legacy import LEGACY_MAGIC, read_legacy
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.optimizer_state import OptimizerState, optimizer_state
from sacdoctor.checkpoint.settings_edit import edited_settings, with_names_in_settings
from sacdoctor.checkpoint.state_dict import state_dict
from sacdoctor.checkpoint.tensors import Tensor
from sacdoctor.checkpoint.torch_file import read_torch_archive
from sacdoctor.errors import CheckpointError, CorruptCheckpoint, SacdoctorError
from sacdoctor.files import is_far, pin
from sacdoctor.pickles import GlobalName, is_pickle

DATA, POLICY, VERSION = "data", "policy.pth", "_stable_baselines3_version"
VARIABLES = ("pytorch_variables.pth", "tensors.pth")
"""Loose tensors such as `log_ent_coef`; the second name is that of SB3 before 0.9."""
SYSTEM = "system_info.txt"
_PYTHON = re.compile(rb"^- Python: (\d{1,3}\.\d{1,3})", re.MULTILINE)
"""Source: `get_system_info` in stable_baselines3/common/utils.py."""
_START = 64
"""Bytes by which the kind of a member is told."""
_TORCH_ENDINGS, _PICKLE_ENDINGS = (".pth", ".pt"), (".pkl", ".pickle")


class Sb3Zip(Contents):
    """A checkpoint of SB3 over its bytes."""

    def __init__(self, buffer: memoryview, limits: Limits) -> None:
        self._archive = Archive(buffer, position=0, budget=limits.expansion)
        self._limits = limits
        self._plain: set[str] = set()

    def tensors(self) -> Mapping[str, Tensor]:
        if POLICY not in self._archive:
            known = DATA in self._archive
            raise CorruptCheckpoint(
                f"it holds no {POLICY}: not a checkpoint that SB3's model.save() wrote"
                if known
                else f"it is neither a checkpoint of SB3 (it holds no {POLICY}) nor a state dict "
                "that torch.save wrote (one folder with a data.pkl)"
            )
        with _named(POLICY):
            return state_dict(self._read(POLICY))

    def foreign(self) -> Foreign | None:
        if POLICY in self._archive:
            return None
        return foreign_kind(tuple(self._archive), self.settings())

    def variables(self) -> Mapping[str, Tensor]:
        for name in VARIABLES:
            if name in self._archive:
                with _named(name):
                    saved = self._read(name)
                    return state_dict(saved) if saved else {}
        return {}

    def optimizers(self) -> Mapping[str, OptimizerState]:
        found: dict[str, OptimizerState] = {}
        for name in self._optimizers():
            with _named(name):
                found[name.removesuffix(".pth")] = optimizer_state(self._read(name))
        return found

    def optimizer_file(self, optimizer: str) -> str:
        return f"{optimizer}.pth"

    def settings(self) -> Hyperparameters:
        if DATA not in self._archive:
            return Hyperparameters({})
        with _named(DATA):
            return read_hyperparameters(self._archive.read(DATA), self._limits.walks)

    def sb3_version(self) -> str | None:
        if VERSION not in self._archive:
            return None
        with _named(VERSION):
            return str(self._archive.read(VERSION), "utf-8", "replace").strip()

    def python_version(self) -> str | None:
        if SYSTEM not in self._archive:
            return None
        with _named(SYSTEM):
            told = _PYTHON.search(bytes(self._archive.read(SYSTEM)))
        return None if told is None else told[1].decode()

    def is_repaired(self) -> bool:
        return RECORD in self._archive

    def record(self) -> memoryview | None:
        return self._archive.read(RECORD) if RECORD in self._archive else None

    def pickles(self) -> Iterator[PickleFile]:
        for name in self._archive:
            is_torch = name.lower().endswith(_TORCH_ENDINGS)
            if name != DATA and (is_torch or self._is_pickle(name)):
                yield PickleFile(name, partial(self._bytes, name), is_torch, name in self._plain)

    def _bytes(self, name: str) -> memoryview:
        """Return a member to be walked: an archive where it stands, by its start; others read.

        The pickles in an archive have checksums of their own. So where each byte takes its time,
        those of its tensors are not asked for.
        """
        if self._archive.start_of(name, 2) != b"PK":
            return self._archive.read(name)
        archive = self._archive
        data = archive.unchecked(name) if is_far(archive.buffer) else archive.view(name)
        pin(data[:_START])
        return data

    def edited(self, edits: Edits) -> Pieces:
        """Return the bytes with `edits` carried out.

        A learning rate goes into `data` (a pickled schedule gives way to the number, and
        `lr_schedule` goes, which SB3 builds anew on loading) and into every parameter group.
        """
        replaced = {**self._edited_torch_files(edits), **self._edited_data(edits)}
        if edits.record is None:
            return rewrite(self._archive, replaced)
        if RECORD in self._archive:
            return rewrite(self._archive, {**replaced, RECORD: [edits.record]})
        return rewrite(self._archive, replaced, {RECORD: edits.record})

    def _edited_torch_files(self, edits: Edits) -> dict[str, Pieces]:
        by_member: dict[str, list[ElementEdit]] = {}
        for edit in edits.elements:
            member = POLICY if edit.optimizer is None else self.optimizer_file(edit.optimizer)
            by_member.setdefault(member, []).append(edit)
        rated = () if edits.learning_rate is None else self._optimizers()
        replaced: dict[str, Pieces] = {}
        anew = {self.optimizer_file(name): state for name, state in edits.optimizers.items()}
        renamed = {POLICY} if edits.wrappers else set()
        if edits.names:
            renamed |= {name for name in self._torch_files() if self._asks_for(name, edits.names)}
        for member in dict.fromkeys([*by_member, *rated, *anew, *sorted(renamed)]):
            rate = edits.learning_rate if member in rated else None
            data, elements = self._archive.view(member), by_member.get(member, [])
            try:
                if member in anew:
                    from sacdoctor.checkpoint.optimizer_file import optimizer_file

                    replaced[member] = [optimizer_file(anew[member], elements, rate)]
                else:
                    wrappers = edits.wrappers if member == POLICY else ()
                    replaced[member] = edited_torch_file(
                        data, elements, rate, self._limits, wrappers, edits.names
                    )
            except SacdoctorError as error:
                raise error.within(member) from None
        return replaced

    def _edited_data(self, edits: Edits) -> dict[str, Pieces]:
        numbers, removed = dict(edits.settings), list(edits.removed)
        if edits.learning_rate is not None:
            numbers["learning_rate"] = edits.learning_rate
        if "learning_rate" in numbers:
            removed.append("lr_schedule")
        if DATA not in self._archive or not (numbers or removed or edits.names):
            return {}
        data = bytes(self._archive.read(DATA))
        if numbers or removed:
            data = edited_settings(data, numbers, removed)
        return {DATA: [with_names_in_settings(data, edits.names)]}

    def _torch_files(self) -> Iterator[str]:
        return (name for name in self._archive if name.lower().endswith(_TORCH_ENDINGS))

    def _asks_for(self, member: str, names: Mapping[GlobalName, GlobalName]) -> bool:
        try:
            asked = names_in_torch_file(self._archive.read(member), self._limits)
        except CheckpointError:
            return False  # what cannot be read stays as it is
        return not names.keys().isdisjoint(asked)

    def _optimizers(self) -> tuple[str, ...]:
        return tuple(name for name in self._archive if name.endswith("optimizer.pth"))

    def _is_pickle(self, name: str) -> bool:
        return name.lower().endswith(_PICKLE_ENDINGS) or is_pickle(self._archive.start_of(name, 2))

    def _read(self, name: str) -> Any:
        """Return what a torch file in the zip holds, in either of its formats."""
        if self._archive.start_of(name, len(LEGACY_MAGIC)) == LEGACY_MAGIC:
            return read_legacy(self._archive.view(name), self._limits.walks)
        saved = read_torch_archive(self._archive.nested(name), self._limits.walks)
        if saved.is_plain:
            self._plain.add(name)
        return saved.content


@contextmanager
def _named(member: str) -> Iterator[None]:
    """Add the member to an error that does not name it."""
    try:
        yield
    except SacdoctorError as error:
        if repr(member) not in error.reason:
            error.within(member)
        raise error from None


def _opens(buffer: memoryview) -> bool:
    return bytes(buffer[:2]) == b"PK"


CONTAINER = Container(
    name="an SB3 zip",
    endings=(".zip",),
    opens=_opens,
    contents=Sb3Zip,
    has_settings=True,
    has_record=True,
    has_pickles=True,
    gives_way=True,  # SB3 opens any zip, and says what is missing
)
