"""Files that `torch.save` wrote with single elements and learning rates changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sacdoctor.archive import Archive, Pieces, rewrite
from sacdoctor.checkpoint.edits import ElementEdit, edited_storages
from sacdoctor.checkpoint.limits import Limits
from sacdoctor.checkpoint.rate_edit import with_rate
from sacdoctor.checkpoint.torch_file import is_legacy, pickle_member
from sacdoctor.pickles import WalkBudget


def edited_torch_file(
    data: memoryview,
    edits: Sequence[ElementEdit],
    rate: float | None,
    limits: Limits,
    wrappers: Collection[str] = (),
) -> Pieces:
    """Return a torch file in either of its formats with `edits`, and `rate` in every group.

    `wrappers` go from the names of a state dict.

    The format before PyTorch 1.6 is saved anew by torch. Raises `SacdoctorError` where that cannot
    be done.
    """
    if is_legacy(data):
        from sacdoctor.checkpoint.legacy import resave

        return [resave(data, edits, rate, wrappers)]
    archive = Archive(data, position=None, budget=limits.expansion)
    return edited_torch_archive(archive, edits, rate, limits.walks, wrappers)


def edited_torch_archive(
    archive: Archive,
    edits: Sequence[ElementEdit],
    rate: float | None = None,
    walks: WalkBudget | None = None,
    wrappers: Collection[str] = (),
) -> Pieces:
    """Return a torch archive with `edits`, `rate` in every group, and names without `wrappers`."""
    records = {edit.tensor.storage.key: edit.tensor.storage.record for edit in edits}
    replaced: dict[str, Pieces] = {}
    for key, content in edited_storages(edits).items():
        record = records[key]
        assert record is not None
        replaced[record] = [content]
    if rate is not None:
        name = pickle_member(archive)
        assert name is not None
        replaced[name] = [with_rate(bytes(archive.read(name)), rate, walks)]
    elif wrappers:
        from sacdoctor.checkpoint.renaming import without_wrappers

        name = pickle_member(archive)
        assert name is not None
        replaced[name] = [without_wrappers(bytes(archive.read(name)), wrappers)]
    return rewrite(archive, replaced)
