"""Files that `torch.save` wrote with single elements and learning rates changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sacdoctor.archive import Archive, Pieces, rewrite
from sacdoctor.checkpoint.edits import ElementEdit, edited_storages
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.rate_edit import with_rate
from sacdoctor.checkpoint.torch_file import is_legacy, pickle_member
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

    `wrappers` go from the names of a state dict; its pickle asks for other `names`.

    The format before PyTorch 1.6 is saved anew by torch, which names what is there. Raises
    `SacdoctorError` where that cannot be done.
    """
    if is_legacy(data):
        from sacdoctor.checkpoint.legacy import resave

        return [resave(data, edits, rate, wrappers)]
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
        if rate is not None:
            pickle = with_rate(pickle, rate, walks)
        if wrappers:
            from sacdoctor.checkpoint.renaming import without_wrappers

            pickle = without_wrappers(pickle, wrappers)
        replaced[name] = [with_global_names(pickle, names) if names else pickle]
    return rewrite(archive, replaced)


def names_in_torch_file(data: memoryview, limits: Limits) -> frozenset[GlobalName]:
    """Return the names of classes and functions that loading a torch file asks for.

    Of one in the format before PyTorch 1.6 none, which torch saves anew. Raises `CheckpointError`.
    """
    if is_legacy(data):
        return frozenset()
    archive = Archive(data, position=None, budget=limits.expansion)
    name = pickle_member(archive)
    return frozenset() if name is None else global_names(bytes(archive.read(name)))
