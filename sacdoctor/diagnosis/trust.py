"""What loading a file would run beyond SB3 and its libraries, and how bad that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sacdoctor.checkpoint.allowed_names import ARITHMETIC, DANGEROUS_IN_CODE
from sacdoctor.checkpoint.pickled_parts import PickledPart
from sacdoctor.checkpoint.pickles import Name
from sacdoctor.checkpoint.references import Kind, Reference
from sacdoctor.diagnosis.severity import Severity

_MAX_LINES = 8
_MAX_NAMES = 12
"""Of evidence: what is listed one by one; beyond that it is counted."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One reference outside the allow list, where it stands, and how bad it is."""

    place: str
    reference: Reference
    severity: Severity

    @property
    def is_mere_reference(self) -> bool:
        """Whether it is a class or function of the user's that the pickle does not call."""
        return self.severity is Severity.NOTICE and self.reference.kind is Kind.NAME


def suspicions(parts: Iterable[PickledPart]) -> tuple[Suspicion, ...]:
    """Return a suspicion for each reference, the worst first.

    Critical: a name that is known to be dangerous, an attribute path into what a module keeps, a
    change to something imported, and whatever cannot be followed. Warning: a call of, or code that
    uses, what is not known to be harmless. Notice: a class or function of the user's that is only
    referred to, and code that only computes.
    """
    found = [(part.place, reference) for part in parts for reference in _told(part.references)]
    if not found:
        return ()
    names = {_asked(reference) for _, reference in found if reference.kind in _NAMED}
    bad: frozenset[Name] = frozenset()
    if names:  # rare enough to leave out of the start of every scan
        from sacdoctor.checkpoint.dangerous_names import dangerous

        bad = dangerous(names)
    judged = [Suspicion(place, ref, _severity(ref, _asked(ref) in bad)) for place, ref in found]
    return tuple(sorted(judged, key=lambda suspicion: -suspicion.severity.rank))


_NAMED = (Kind.NAME, Kind.CALL, Kind.IMPORT)


def _told(references: Sequence[Reference]) -> list[Reference]:
    """Leave out that a name is referred to where it is called as well."""
    called = {reference.name for reference in references if reference.kind is Kind.CALL}
    return [r for r in references if r.kind is not Kind.NAME or r.name not in called]


def _asked(reference: Reference) -> Name:
    """Return the name to judge; an imported module is judged as if all of it were asked for."""
    name = reference.name
    return Name(name.module, "module") if reference.kind is Kind.IMPORT else name


def _severity(reference: Reference, is_dangerous: bool) -> Severity:
    kind = reference.kind
    if kind is Kind.CODE:
        if not DANGEROUS_IN_CODE.isdisjoint(reference.uses):
            return Severity.CRITICAL
        return Severity.NOTICE if ARITHMETIC.issuperset(reference.uses) else Severity.WARNING
    if kind not in _NAMED or is_dangerous:
        return Severity.CRITICAL
    return Severity.NOTICE if kind is Kind.NAME else Severity.WARNING


def evidence(found: Sequence[Suspicion]) -> str:
    """Return a line for each thing that pickles do: the members and keys, and what it is."""
    by_place: dict[str, list[str]] = {}
    for suspicion in found:
        by_place.setdefault(suspicion.place, []).append(words(suspicion.reference))
    places: dict[str, list[str]] = {}
    for place, items in by_place.items():
        places.setdefault(_listed(items, "; "), []).append(place)
    told = [f"{_listed(where)}: {what}" if any(where) else what for what, where in places.items()]
    rest = len(told) - _MAX_LINES
    return "\n".join([*told[:_MAX_LINES], *([f"and {rest} more"] if rest > 0 else [])])


def words(reference: Reference) -> str:
    """Return in words what a pickle does with what it refers to."""
    name = reference.name
    if reference.kind is Kind.CODE:
        names = _listed(reference.uses) if reference.uses else "no names"
        file = "/".join(name.module.replace("\\", "/").split("/")[-3:])
        return f"code of {name.qualname} from {file or 'no file'}, which uses {names}"
    if reference.kind is Kind.UNREAD:
        return f"cannot be read to its end ({name.qualname}); what would follow is not known"
    if reference.kind is Kind.COMPUTED:
        return f"uses {name.qualname}, which cannot be known without running it"
    if reference.kind is Kind.STATE:
        return f"changes {_dotted(name)} itself"
    return f"{reference.kind.value} {_dotted(name)}"


def _dotted(name: Name) -> str:
    return ".".join(part for part in (name.module, name.qualname) if part)


def _listed(items: Sequence[str], separator: str = ", ") -> str:
    rest = len(items) - _MAX_NAMES
    return separator.join(items[:_MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
