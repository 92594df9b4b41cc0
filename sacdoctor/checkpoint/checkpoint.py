"""A checkpoint: one SB3 `.zip`, or a bare `.pth`/`.pt` state dict, open over a memory map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from sacdoctor.algorithms import algorithm_of
from sacdoctor.archive.reading import Archive, Budget
from sacdoctor.archive.zip_end import ends_as_zip
from sacdoctor.checkpoint.hyperparameters import Hyperparameters, read_hyperparameters
from sacdoctor.checkpoint.optimizer_state import OptimizerState, optimizer_state
from sacdoctor.checkpoint.tensors import Tensor, refuse_endless_views
from sacdoctor.checkpoint.torch_file import (
    LEGACY_MAGIC,
    is_legacy,
    pickle_member,
    read_legacy,
    read_torch_archive,
)
from sacdoctor.errors import (
    CorruptCheckpoint,
    NotACheckpoint,
    SacdoctorError,
    UnsupportedCheckpoint,
)
from sacdoctor.files.paging import map_file

POLICY = "policy.pth"
VARIABLES = ("pytorch_variables.pth", "tensors.pth")
"""Loose tensors such as `log_ent_coef`; the second name is that of SB3 before 0.9."""
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "policy_state_dict", "policy")


class Checkpoint:
    """An open checkpoint, to be used as a context manager.

    Everything is read when first asked for, and nothing in the file is ever executed. Every
    property may raise `CheckpointError` (with the path and what is wrong).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.nesting: tuple[str, ...] = ()
        """The key under which a bare file keeps its state dict; known once `tensors` is read."""
        self.understood: set[str] = set()
        """Members (`""`: the bare file) whose pickles were read: all their names are listed."""
        with self._named():
            self._buffer = map_file(self.path)
            self._archive = self._outer_archive()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go. Views that are still held keep the memory map alive, not the file."""
        self.__dict__.clear()

    @property
    def is_bare(self) -> bool:
        """Whether this is a state dict alone, without anything of SB3's beside it."""
        return self._archive is None or pickle_member(self._archive) is not None

    @property
    def archive(self) -> Archive:
        """The outer zip; raises `UnsupportedCheckpoint` for a bare state dict."""
        if self._archive is None or self.is_bare:
            raise UnsupportedCheckpoint("it is a bare state dict, not an SB3 zip", self.path)
        return self._archive

    @property
    def torch_archive(self) -> Archive | None:
        """The zip of a bare state dict; None for an SB3 zip and for the non-zip format."""
        return self._archive if self.is_bare else None

    @property
    def buffer(self) -> memoryview:
        """The whole file, mapped."""
        return self._buffer

    @cached_property
    def hyperparameters(self) -> Hyperparameters:
        """The settings in `data`; empty where there is no such member."""
        if self.is_bare or "data" not in self.archive:
            return Hyperparameters({})
        with self._named("data"):
            return read_hyperparameters(self.archive.read("data"))

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The policy's state dict by name, in its order, aliases included."""
        if self.is_bare:
            with self._named():
                saved = self._read_bare()
                self.understood.add("")
                self.nesting = _nesting(saved)
                return _state_dict(saved[self.nesting[0]] if self.nesting else saved)
        if POLICY not in self.archive:
            known = "data" in self.archive
            raise CorruptCheckpoint(
                f"it holds no {POLICY}: not a checkpoint that SB3's model.save() wrote"
                if known
                else f"it is neither a checkpoint of SB3 (it holds no {POLICY}) nor a state dict "
                "that torch.save wrote (one folder with a data.pkl)",
                self.path,
            )
        with self._named(POLICY):
            return _state_dict(self._read_member(POLICY))

    @cached_property
    def optimizers(self) -> Mapping[str, OptimizerState]:
        """Each optimizer's state by its name without `.pth`, e.g. `actor.optimizer`."""
        found: dict[str, OptimizerState] = {}
        for name in () if self.is_bare else self.archive:
            if name.endswith("optimizer.pth"):
                with self._named(name):
                    found[name.removesuffix(".pth")] = optimizer_state(self._read_member(name))
        return found

    @cached_property
    def variables(self) -> Mapping[str, Tensor]:
        """Tensors outside the policy, such as `log_ent_coef`; empty where there are none."""
        for name in () if self.is_bare else VARIABLES:
            if name in self.archive:
                with self._named(name):
                    saved = self._read_member(name)
                    return _state_dict(saved) if saved else {}
        return {}

    @cached_property
    def algorithm(self) -> str | None:
        """The algorithm's class name, e.g. `SAC`; None where the settings do not tell."""
        return algorithm_of(self.hyperparameters, self.tensors)

    @cached_property
    def policy_class(self) -> str | None:
        """The dotted name of the policy's class, None where the settings do not tell."""
        return self.hyperparameters.class_name("policy_class")

    @cached_property
    def sb3_version(self) -> str | None:
        """The version of SB3 that wrote the file, None before SB3 0.9."""
        name = "_stable_baselines3_version"
        if self.is_bare or name not in self.archive:
            return None
        with self._named(name):
            return str(self.archive.read(name), "utf-8", "replace").strip()

    # -- opening -------------------------------------------------------------------------------

    def _outer_archive(self) -> Archive | None:
        if bytes(self._buffer[:2]) != b"PK":
            self._refuse_zip_behind()
            if is_legacy(self._buffer):
                return None
            raise NotACheckpoint("it is neither a zip nor a file that torch.save wrote")
        return Archive(self._buffer, position=0, budget=Budget.of(len(self._buffer)))

    def _refuse_zip_behind(self) -> None:
        """SB3 would load the zip, torch what stands before it: there is no telling what is meant.

        Python finds a zip from its end.
        """
        if ends_as_zip(self._buffer):
            raise UnsupportedCheckpoint(
                "something stands before the zip archive in it, two formats in one file; SB3 may "
                "load the zip all the same"
            )

    def _read_bare(self) -> Any:
        return read_legacy(self._buffer) if self._archive is None else self._read_archive()

    def _read_archive(self) -> Any:
        assert self._archive is not None
        return read_torch_archive(self._archive)

    def _read_member(self, name: str) -> Any:
        if self.archive.start_of(name, len(LEGACY_MAGIC)) == LEGACY_MAGIC:
            saved = read_legacy(self.archive.read(name))
        else:
            saved = read_torch_archive(self.archive.nested(name))
        self.understood.add(name)
        return saved

    @contextmanager
    def _named(self, member: str | None = None) -> Iterator[None]:
        """Add the path, and the member where one is given, to an error that knows neither."""
        try:
            yield
        except SacdoctorError as error:
            if member is not None and error.path is None and repr(member) not in error.reason:
                error.within(member)
            raise error.at(self.path) from None


def _nesting(saved: Any) -> tuple[str, ...]:
    """Return the key under which a bare file keeps its state dict, empty for the top level."""
    if not isinstance(saved, dict) or any(isinstance(v, Tensor) for v in saved.values()):
        return ()
    return tuple(key for key in _STATE_DICT_KEYS if isinstance(saved.get(key), dict))[:1]


def _state_dict(saved: Any) -> Mapping[str, Tensor]:
    if not isinstance(saved, dict):
        raise CorruptCheckpoint("it holds no state dict (a mapping of names to tensors)")
    found = {
        name: value
        for name, value in saved.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    refuse_endless_views(found.values())
    return found
