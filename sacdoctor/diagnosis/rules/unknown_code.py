"""A pickle that brings, imports or calls code that is not SB3's or its libraries'.

## What it does
Names what the pickles in a file refer to outside the allow list: all that SB3, sb3-contrib,
gymnasium, numpy, torch and cloudpickle write for models, buffers and normalisation. A notice where
embedded code uses nothing but arithmetic, as the schedules of older SB3 and rl-zoo do. A warning
where loading calls an unknown function, makes an object of an unknown class (its own methods fill
it), gives either to a call or to an object that may call it, or imports a module; where embedded
code uses other names; and where an unknown name stands among the model's attributes, of which SB3
calls the schedules and any method of its own.

A class or function of yours that is only referred to where SB3 expects a class (`policy_class`,
`replay_buffer_class`, values in `policy_kwargs`) is a notice too: loading imports its module from
your machine.

All of it is named where code is what was asked for (`scan --select SD6`, or a pickle of its own).
The scan of a model's health leaves out what says nothing about it: the notices, classes of yours
where SB3 takes them, even where the file holds their code, as it does of classes from a notebook,
and objects of classes of yours beside the tensors in a file that `torch.save` wrote. What uses
dangerous names is SD601, wherever it stands.

## Why is this bad
It need not be bad: a custom policy or action noise is your code. But what is named here runs when
the file is loaded or trained, and the file decides with which arguments. Embedded code runs as it
stands in the file; the names it uses are all that can be told about it without running it, and
bytecode made by hand can do harm without any name.

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

from collections.abc import Iterator

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity, worst
from sacdoctor.trust import Kind, LoadedCode, evidence


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
    yield RULE.finding(
        worst([s.severity for s in found]),
        message,
        evidence=evidence(found),
        remedy=f"{remedy}Load it if you know this code, or trust where the file came from.",
    )


RULE = Rule(
    code="SD602",
    name="unknown-code",
    doc=__doc__,
    severities=(Severity.WARNING, Severity.NOTICE),
    checks=(Check(LoadedCode, check),),
    cured_by=("fix --strip-code",),
)
