"""Files that `torch.save` wrote with single elements and learning rates changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sacdoctor.archive import Archive, Pieces, rewrite
from sacdoctor.checkpoint.edits import ElementEdit, edited_storages, with_contents
from sacdoctor.checkpoint.legacy import is_legacy, legacy_file
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.rate_edit import with_rate
from sacdoctor.checkpoint.torch_file import pickle_member
from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.files import fetched
from sacdoctor.pickles import GlobalName, WalkBudget, global_names, with_global_names


def edited_torch_file(
    data: memoryview,
    edits: Sequence[ElementEdit],
    rate: float | None,
    limits: Limits,
    wrappers: Collection[str] = (),
    names: Mapping[GlobalName, GlobalName] | None = None,
) -> Pieces:
    """Return a torch file in either of its formats with `edits`, and `rate` in every group.

    `wrappers` go from the names of a state dict; its pickle asks for other `names`. Raises
    `SacdoctorError` where that cannot be done.
    """
    if is_legacy(data):
        return _edited_legacy(data, edits, rate, limits, wrappers, names)
    archive = Archive(data, position=None, budget=limits.expansion)
    return edited_torch_archive(archive, edits, rate, limits.walks, wrappers, names)


def edited_torch_archive(
    archive: Archive,
    edits: Sequence[ElementEdit],
    rate: float | None = None,
    walks: WalkBudget | None = None,
    wrappers: Collection[str] = (),
    names: Mapping[GlobalName, GlobalName] | None = None,
) -> Pieces:
    """Return a torch archive with `edits`, `rate` in every group, and names without `wrappers`.

    Its pickle asks for other `names` of classes and functions.
    """
    records = {edit.tensor.storage.key: edit.tensor.storage.record for edit in edits}
    replaced: dict[str, Pieces] = {}
    for key, content in edited_storages(edits).items():
        record = records[key]
        assert record is not None
        replaced[record] = [content]
    if rate is not None or wrappers or names:
        name = pickle_member(archive)
        assert name is not None
        pickle = bytes(archive.read(name))
        replaced[name] = [_edited_pickle(pickle, rate, walks, wrappers, names)]
    return rewrite(archive, replaced)


def _edited_legacy(
    data: memoryview,
    edits: Sequence[ElementEdit],
    rate: float | None,
    limits: Limits,
    wrappers: Collection[str],
    names: Mapping[GlobalName, GlobalName] | None,
) -> Pieces:
    """The same of a file before PyTorch 1.6: nothing in it says where anything stands."""
    file = legacy_file(data, limits.walks)
    contents = edited_storages(edits)
    if not contents.keys() <= file.places.keys():
        raise UnsupportedCheckpoint("its tensors see parts of storages, as those of PyTorch 0.3 do")
    edited = with_contents(data, {file.places[key]: new for key, new in contents.items()})
    if rate is None and not wrappers and not names:
        return edited
    pickle = bytes(fetched(data[file.start : file.end]))
    pickle = _edited_pickle(pickle, rate, limits.walks, wrappers, names)
    # It stands before all storages, and so within the first piece.
    first, *rest = edited
    return [first[: file.start], pickle, first[file.end :], *rest]


def _edited_pickle(
    pickle: bytes,
    rate: float | None,
    walks: WalkBudget | None,
    wrappers: Collection[str],
    names: Mapping[GlobalName, GlobalName] | None,
) -> bytes:
    if rate is not None:
        pickle = with_rate(pickle, rate, walks)
    if wrappers:
        from sacdoctor.checkpoint.renaming import without_wrappers

        pickle = without_wrappers(pickle, wrappers)
    return with_global_names(pickle, names) if names else pickle


def names_in_torch_file(data: memoryview, limits: Limits) -> frozenset[GlobalName]:
    """Return the names of classes and functions that loading a torch file asks for.

    Raises `CheckpointError`.
    """
    if is_legacy(data):
        file = legacy_file(data, limits.walks)
        return global_names(bytes(fetched(data[file.start : file.end])))
    archive = Archive(data, position=None, budget=limits.expansion)
    name = pickle_member(archive)
    return frozenset() if name is None else global_names(bytes(archive.read(name)))
