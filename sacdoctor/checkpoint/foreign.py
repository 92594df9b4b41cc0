"""Files of other libraries that look like SB3's: what they are, told from what SB3 writes not.

They are refused, and by what they are. Adding one is adding a row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sacdoctor.algorithms import SavedSettings
from sacdoctor.errors import UnsupportedCheckpoint


@dataclass(frozen=True, slots=True)
class Foreign:
    """A kind of file of another library.

    - `words`: what it is, with its article.
    - `recognises`: from the names of a zip's members, and its settings.
    - `packages`: those by which the library itself writes: that its files name them, or do with
      them what nobody can follow, is no attack.
    """

    words: str
    recognises: Callable[[Collection[str], SavedSettings], bool]
    packages: frozenset[str]


class ForeignCheckpoint(UnsupportedCheckpoint):
    """The file is another library's."""

    def __init__(self, kind: Foreign) -> None:
        super().__init__(
            f"it is {kind.words}: sacdoctor reads what Stable-Baselines3's model.save() writes, "
            "and state dicts of PyTorch"
        )
        self.kind = kind


def _of_sb2(members: Collection[str], _: SavedSettings) -> bool:
    # stable_baselines/common/base_class.py, `_save_to_file_zip`
    return "parameters" in members and "parameter_list" in members


def _of_sbx(_: Collection[str], settings: SavedSettings) -> bool:
    return (settings.class_name("policy_class") or "").startswith("sbx.")


KINDS = (
    Foreign(
        "a Stable-Baselines 2 zip (TensorFlow)",
        _of_sb2,
        frozenset(("dill", "stable_baselines", "tensorflow")),
    ),
    Foreign(
        "an SBX zip (JAX)",
        _of_sbx,
        frozenset(("sbx", "jax", "jaxlib", "flax", "optax", "tensorflow_probability")),
    ),
)


def foreign_kind(members: Collection[str], settings: SavedSettings) -> Foreign | None:
    """Return which other library's file it is, None for none that is known."""
    return next((kind for kind in KINDS if kind.recognises(members, settings)), None)
