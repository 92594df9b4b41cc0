"""A pickle that brings, imports or calls code that is not SB3's or its libraries'.

## What it does
Names what the pickles in a file hold beyond what is proven harmless: every opcode, name, call,
argument and state in a form in which SB3, sb3-contrib, gymnasium, gym, numpy, torch or cloudpickle
writes it. A warning is what is merely not known: classes and functions that are not theirs, whether
they are called, made, given away or only referred to; code that does more than compute; a known
name that is used as no library does; a value that is changed after it was read. A notice is code
each of whose instructions only computes, as the schedules of older SB3 and rl-zoo do.

All of it is named where code is what was asked for (`scan --select SD6`, or a pickle of its own),
and a warning fails there. `--trust MODULE` takes what a file names from that module, or from one
below it, as known. The scan of a model's health leaves out what says nothing about it: the notices,
classes of yours where SB3 takes them, even where the file holds their code, as it does of classes
from a notebook, and objects of classes of yours beside the tensors in a file that `torch.save`
wrote. What reaches dangerous names is SD601, wherever it stands.

## Why is this bad
It need not be bad: a custom policy or action noise is your code. But what is named here runs when
the file is loaded or trained, and the file decides with which arguments. Embedded code runs as it
stands in the file.

## Example
`learning_rate=lambda progress: 3e-4 * progress`: the file holds the bytecode of this function.

## Use instead
`stable_baselines3.common.utils.LinearSchedule`, or a number. `sacdoctor fix --strip-code` puts the
last rate in place of a schedule.

## Fix safety
`--strip-code` is safe for prediction; training goes on at a constant rate.

## References
- cloudpickle: functions pickled by value
- SB3 docs, "On saving and loading": custom objects
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity, worst
from sacdoctor.trust import NAMED, Kind, LoadedCode, Suspicion, evidence

_MOST_TRUSTED = 3
"""Modules that are named in the remedy; more are no code that anybody knows by heart."""
_LIBRARIES = frozenset(
    [
        "numpy",
        "torch",
        "gym",
        "gymnasium",
        "stable_baselines3",
        "sb3_contrib",
        "cloudpickle",
        "__main__",
    ]
)
"""Packages of which the gate knows what is harmless: trusting them as a whole undoes it."""


def check(code: LoadedCode) -> Iterator[Finding]:
    """Yield a finding over all that is unknown without being known as dangerous."""
    found = [s for s in code if s.severity is not Severity.CRITICAL]
    if not found:
        return
    kinds = {s.reference.kind for s in found}
    if any(s.reference.name.module.startswith("torch.nn.modules.") for s in found):
        message = "a whole module is pickled; its class must be imported to load it"
        remedy = "Save `module.state_dict()` instead, which needs no class. "
    elif Kind.CODE in kinds:
        message = "the file carries code of its own, which loading or training runs"
        remedy = "`sacdoctor fix --strip-code` puts numbers in place of schedules. "
    elif kinds == {Kind.NAME}:
        message, remedy = "loading the file imports code that is not SB3's", ""
    else:
        message, remedy = "loading the file calls or imports what is not known to be harmless", ""
    remedy += "Load it if you know this code, or trust where the file came from."
    severity = worst([s.severity for s in found])
    yield RULE.finding(severity, message, evidence=evidence(found), remedy=remedy + _trust(found))


def _trust(found: Sequence[Suspicion]) -> str:
    """Return how the gate takes the user's own classes, where these are all that fails it."""
    failing = [suspicion for suspicion in found if suspicion.severity is Severity.WARNING]
    if not all(s.is_calm and s.reference.kind in NAMED for s in failing):
        return ""
    modules = dict.fromkeys(suspicion.reference.name.module for suspicion in failing)
    if not 0 < len(modules) <= _MOST_TRUSTED or not all(map(_may_be_own, modules)):
        return ""
    return f" The gate takes it with {' '.join(f'`--trust {module}`' for module in modules)}."


def _may_be_own(module: str) -> bool:
    package, *rest = module.split(".")
    is_name = all(map(str.isidentifier, (package, *rest)))
    return is_name and package not in sys.stdlib_module_names and package not in _LIBRARIES


RULE = Rule(
    code="SD602",
    name="unknown-code",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(LoadedCode, check),),
    cured_by=("fix --strip-code",),
)
