"""What loading a file would run beyond SB3 and its libraries, and how bad that is."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct

from sacdoctor.pickles import Name
from sacdoctor.printable import printable
from sacdoctor.severity import Severity
from sacdoctor.trust.parts import PickledPart, place_of
from sacdoctor.trust.references import Kind, Reference
from sacdoctor.trust.words import ARITHMETIC

_CLASSES = frozenset(
    (
        *("policy_class", "replay_buffer_class", "rollout_buffer_class"),
        *("policy_kwargs", "replay_buffer_kwargs", "rollout_buffer_kwargs"),
    )
)
"""Keys of `data` where SB3 expects a class, or keywords among which there may be one. All others
become attributes of the model, its schedules and its methods among them, and SB3 calls those."""
_THE_USERS = _CLASSES | {"action_noise"}
"""Where SB3 takes classes of the user's, or an object of one, by design."""


class Suspicion(Struct, frozen=True):
    """One reference that is not proven harmless, where it stands, and how bad it is.

    `member`, `key` and `is_torch` are those of its `PickledPart`.
    """

    member: str
    key: str
    reference: Reference
    severity: Severity
    is_torch: bool = False

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        return place_of(self.member, self.key)

    @property
    def is_beside_tensors(self) -> bool:
        """Whether the file itself is one that torch.save wrote, of somebody's own."""
        return self.is_torch and not self.member

    @property
    def is_calm(self) -> bool:
        """Whether it says nothing to somebody who asks for a model's health.

        So is code that only computes (the schedules of SB3 itself and of rl-zoo), what is merely
        written in an unusual form, and a class that is only referred to or held. So is, short of
        what is critical, a class or an object of the user's where SB3 takes one, and any object
        beside the state dicts of a file that torch.save wrote: a configuration, a member of an
        enumeration. Which file code claims to come from decides nothing: anybody can write that.
        """
        if self.severity is not Severity.WARNING:
            return self.severity is Severity.NOTICE
        reference = self.reference
        if reference.kind in _UNUSUAL:
            return True
        if reference.kind is Kind.NAME and not self._is_called:
            return True
        if reference.kind is Kind.CODE and ARITHMETIC.issuperset(reference.uses):
            return True
        if self.member == "data":
            return _outer(self.key) in _THE_USERS and reference.kind is not Kind.CALL
        return self.is_beside_tensors and reference.kind in _OF_NAMES and reference.names_a_class

    @property
    def _is_called(self) -> bool:
        """Whether SB3 may call what stands there as it is."""
        return self.member == "data" and _outer(self.key) not in _CLASSES


class LoadedCode(tuple[Suspicion, ...]):
    """What loading a file would run, as rules look at it: the suspicions, the worst first."""

    @classmethod
    def in_words(cls) -> str:
        return "the code that loading a file runs"

    def without_the_calm(self) -> LoadedCode:
        """Return it without what says nothing about a model's health (`Suspicion.is_calm`)."""
        return LoadedCode(found for found in self if not found.is_calm)


def suspicions(
    parts: Iterable[PickledPart],
    packages: Collection[str] = (),
    trusted: Collection[str] = (),
) -> tuple[Suspicion, ...]:
    """Return a suspicion for each reference, the worst first.

    Critical: a name that is known to be dangerous, an attribute path into what a module keeps,
    code that reaches such a name, a change to something imported, and whatever cannot be followed.
    Warning: whatever else is not proven harmless. Notice: code that is proven to only compute.

    `packages` are those by which another library wrote the file: their names are no worse than any
    unknown one, and what is done with them is theirs to follow. `trusted` are modules: names from
    these and from what is below them are left out, unless they are known to be dangerous.
    """
    found = [(part, reference) for part in parts for reference in each_once(part.references)]
    if not found:
        return ()
    names = {reference.name for _, reference in found if reference.kind in _OF_NAMES}
    bad: frozenset[Name] = frozenset()
    if names:  # rare enough to leave out of the start of every scan
        from sacdoctor.trust.dangerous_names import dangerous

        bad = dangerous(name for name in names if _package(name) not in packages)
    if packages:
        found = [(part, ref) for part, ref in found if ref.kind is not Kind.COMPUTED]
    judged = [
        Suspicion(part.member, part.key, ref, _severity(ref, ref.name in bad), part.is_torch)
        for part, ref in found
        if not (ref.kind in NAMED and ref.name not in bad and _is_trusted(ref.name, trusted))
    ]
    return tuple(sorted(judged, key=lambda suspicion: -suspicion.severity.rank))


def _package(name: Name) -> str:
    return name.module.partition(".")[0]


def _is_trusted(name: Name, trusted: Collection[str]) -> bool:
    return any(f"{name.module}.".startswith(f"{module}.") for module in trusted)


_OF_NAMES = (Kind.NAME, Kind.GIVE, Kind.MAKE, Kind.CALL)
"""What can be done with a name, the least first."""
NAMED = (*_OF_NAMES, Kind.IMPORT)
"""The same, and that a module is imported: what is named can be trusted by its module."""
_UNUSUAL = (Kind.FORM, Kind.CLASS)
_UNKNOWABLE = (Kind.COMPUTED, Kind.STATE, Kind.UNREAD)


def each_once(references: Sequence[Reference]) -> list[Reference]:
    """Return the references with each name once: of a name, the most that is done with it.

    What a pickle calls it refers to as well, and saying both would say the same twice.
    """
    strongest = {r.name: r for kind in _OF_NAMES for r in references if r.kind is kind}
    return [r for r in references if r.kind not in _OF_NAMES or strongest[r.name] is r]


def _severity(reference: Reference, is_dangerous: bool) -> Severity:
    if is_dangerous or reference.reaches or reference.kind in _UNKNOWABLE:
        return Severity.CRITICAL
    return Severity.NOTICE if reference.only_computes else Severity.WARNING


def _outer(key: str) -> str:
    """Return the key of `data` itself: `policy_kwargs` of `policy_kwargs.optimizer_kwargs[0]`."""
    return re.split(r"[.\[]", key, maxsplit=1)[0]


def evidence(found: Sequence[Suspicion]) -> str:
    """Return a line for each thing that pickles do: the members and keys, and what it is."""
    by_place: dict[str, list[str]] = {}
    for suspicion in found:
        place = printable(suspicion.place)
        by_place.setdefault(place, []).append(description(suspicion.reference))
    places: dict[str, list[str]] = {}
    for place, items in by_place.items():
        places.setdefault("; ".join(items), []).append(place)
    return "\n".join(
        f"{', '.join(where)}: {what}" if any(where) else what for what, where in places.items()
    )


def description(reference: Reference) -> str:
    """Return in one line what a pickle does with what it refers to, e.g. `calls os.system`."""
    return printable(_description(reference))


def _description(reference: Reference) -> str:
    name = reference.name
    if reference.kind is Kind.CODE:
        names = ", ".join(reference.uses) or "no names"
        file = "/".join(name.module.replace("\\", "/").split("/")[-3:])
        code = f"code of {name.qualname} from {file or 'no file'}"
        if reference.reaches:
            return f"{code}, which reaches {', '.join(reference.reaches)}"
        return f"{code}, which uses {names}"
    if reference.kind is Kind.FORM:
        return f"uses {_dotted(name)} as no library does" if name.module else name.qualname
    if reference.kind is Kind.CLASS:
        return f"holds the class {name.qualname}"
    if reference.kind is Kind.UNREAD:
        return f"cannot be read to its end ({name.qualname}); what would follow is not known"
    if reference.kind is Kind.COMPUTED:
        return f"uses {name.qualname}, which cannot be known without running it"
    if reference.kind is Kind.STATE:
        return f"changes {_dotted(name)} itself"
    if reference.kind is Kind.GIVE:
        return f"gives {_dotted(name)} to a call, which may call it"
    return f"{reference.kind.value} {_dotted(name)}"


def _dotted(name: Name) -> str:
    return ".".join(part for part in (name.module, name.qualname) if part)
