"""A pickle that would run dangerous code when the file is loaded.

## What it does
Walks every pickle in the file without executing it: the base64 ones in `data`, those of all `.pth`
members, pickles inside pickles, a replay buffer or `VecNormalize` given on its own. It reports
names that are known to be dangerous (picklescan's list and a few more), whether the pickle calls
them or not, attribute paths through harmless modules into what they keep (`numpy`'s
`__builtins__`), embedded code that reaches such names, changes to something imported, and whatever
cannot be followed: names, attributes, classes or calls that the pickle computes, extension codes, a
pickle that cannot be read to its end. A name that merely occurs in code, such as an attribute
called `open`, reaches nothing.

## Why is this bad
`SAC.load` unpickles the settings in `data`, `torch.load` the tensors, `load_replay_buffer` the
buffer. A pickle may name any function with any arguments, and it runs at once, with your rights.

## Example
`lr_schedule` in `data` is a pickle of `os.system`. SB3 runs it when the model is loaded, whether
the schedule is used or not.

## Use instead
Do not load the file. Ask whoever made it for the weights alone: a state dict, which
`torch.load(weights_only=True)` reads.

## Fix safety
`sacdoctor fix --strip-code` takes out what stands in place of a schedule, says what remains, and
exits with 1 where that is still dangerous. No repair is written that would run what its input does
not.

## References
- SB3 issue 2281, on pickles in `data`
- picklescan, https://github.com/mmaitre314/picklescan
- Python docs, "pickle": the warning at its top
"""

from __future__ import annotations

from collections.abc import Iterator

from sacdoctor.diagnosis.rules.interface import Check, Rule
from sacdoctor.model import Finding
from sacdoctor.severity import Severity
from sacdoctor.trust import Kind, LoadedCode, evidence


def check(code: LoadedCode) -> Iterator[Finding]:
    """Yield a finding over all that is critical."""
    found = [s for s in code if s.severity is Severity.CRITICAL]
    if not found:
        return
    known = any(s.reference.kind not in (Kind.UNREAD, Kind.COMPUTED) for s in found)
    yield RULE.finding(
        Severity.CRITICAL,
        "loading the file would run dangerous code"
        if known
        else "what loading the file would run cannot be known",
        evidence=evidence(found),
        remedy="Do not load it with SB3, torch or pickle. Get the weights from somebody you trust.",
    )


RULE = Rule(
    code="SD601",
    name="unsafe-pickle",
    doc=__doc__,
    severities=(Severity.CRITICAL,),
    checks=(Check(LoadedCode, check),),
    cured_by=("fix --strip-code",),
    comes_first=True,
)
