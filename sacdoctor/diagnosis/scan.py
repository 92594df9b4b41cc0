"""One checkpoint in, its report out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sacdoctor.algorithms import algorithm_of
from sacdoctor.checkpoint import Checkpoint, ForeignCheckpoint, foreign_bytes
from sacdoctor.diagnosis.buffer_facts import StoredTransitions
from sacdoctor.diagnosis.examination import Examination, examine
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.diagnosis.normalisation import Normalised, normalised
from sacdoctor.diagnosis.rules import (
    RULES,
    Found,
    Rule,
    Subject,
    causes,
    findings,
    rule_of,
    selected,
)
from sacdoctor.diagnosis.warmup_facts import ForcedTransitions
from sacdoctor.errors import (
    ChangedFile,
    CorruptCheckpoint,
    SacdoctorError,
    UnsupportedCheckpoint,
)
from sacdoctor.files import map_file, stamp_of
from sacdoctor.model import Finding, LayerReport, Report, Summary, Unjudged
from sacdoctor.options import ScanOptions
from sacdoctor.severity import Severity, Status
from sacdoctor.trust import (
    Kind,
    LoadedCode,
    PickledPart,
    Suspicion,
    begins_as_pickle,
    is_pickle_file,
    parts_of,
    parts_of_pickle,
    suspicions,
)

if TYPE_CHECKING:
    from sacdoctor.diagnosis.warmup import WarmupReport

_ARRAYS = ".npz"
_MAX_LINE = 120
"""Characters of a finding that stand in the line about a file that cannot be read."""


def scan(path: str | Path, options: ScanOptions | None = None) -> Report:
    """Return the report of the checkpoint at `path`.

    A replay buffer has a report without layers: what it holds, whether its first actions were
    forced, and what loading it would run. Of any other pickle of its own (`VecNormalize`) only
    that is looked at.

    Raises `CheckpointError` where it cannot be read. Nothing in the file is executed.
    """
    options = options or ScanOptions()
    if is_pickle_file(path):
        return _of_one_file(path, _diagnose_pickle, options)
    if str(path).lower().endswith(_ARRAYS):
        return _of_one_file(path, _diagnose_arrays, options)
    with Checkpoint(path) as checkpoint:
        return diagnose(checkpoint, options)


def _of_one_file(
    path: str | Path, diagnose: Callable[[str | Path, ScanOptions], Report], options: ScanOptions
) -> Report:
    """Return the report on a file that is opened several times.

    Raises `ChangedFile` where it is another at the end than it was.
    """
    before = stamp_of(path)
    try:
        report = diagnose(path, options)
    except SacdoctorError:
        if stamp_of(path) != before:
            raise ChangedFile(path) from None
        raise
    if stamp_of(path) != before:
        raise ChangedFile(path)
    return report


def diagnose(checkpoint: Checkpoint, options: ScanOptions) -> Report:
    """Return the report of an open checkpoint.

    Where all selected rules look at code alone, no tensor is read, and there are no layers.
    """
    return report_on(Facts(checkpoint, options.components, options.trusted), options)


def report_on(facts: Facts, options: ScanOptions) -> Report:
    """Return the report of a checkpoint from its facts, which stay with the caller."""
    if looks_at_code_alone(options):
        return _report_on_code(facts, options)
    return report_of(examined(facts, options), options)


@np.errstate(all="ignore")  # numbers from a damaged run overflow; rules judge what comes of it
def examined(facts: Facts, options: ScanOptions) -> Examination:
    """Return the examination of an open checkpoint as the options ask for it."""
    return examine(facts, options.thresholds, options.selects)


@np.errstate(all="ignore")
def report_of(examination: Examination, options: ScanOptions, run: Path | None = None) -> Report:
    """Return what the rules make of an examination, and of what lies beside the file.

    With `run`, the folder of the run that it belongs to, of what lies in all of it.
    """
    checkpoint = examination.facts.checkpoint
    settings = checkpoint.hyperparameters
    unjudged = _unjudged(examination)
    found = findings(_subjects(examination, options, run), _rules(options))
    return Report(
        path=str(checkpoint.path),
        status=status_of(examination.layers, found, options, unjudged),
        algorithm=checkpoint.algorithm,
        policy_class=checkpoint.policy_class,
        sb3_version=checkpoint.sb3_version,
        num_timesteps=settings.integer("num_timesteps"),
        n_updates=settings.integer("_n_updates"),
        learning_rate=settings.number("learning_rate"),
        optimizer_learning_rates={
            name: optimizer.learning_rate for name, optimizer in checkpoint.optimizers.items()
        },
        summary=_summary(examination.layers),
        layers=examination.layers,
        findings=found,
        thresholds=options.thresholds,
        unjudged=unjudged,
    )


def _unjudged(examination: Examination) -> Unjudged | None:
    if any(layer.parameters for layer in examination.layers):
        return None
    has_some = any(tensor.numel for tensor in examination.facts.tensors.values())
    return Unjudged.NO_MATCH if has_some else Unjudged.NO_TENSORS


def _rules(options: ScanOptions) -> tuple[Rule, ...]:
    return selected(options.select, options.ignore)


def _subjects(
    examination: Examination, options: ScanOptions, run: Path | None
) -> Iterator[Subject]:
    """Yield what rules look at; the code comes last, as pickles that were read need no walk."""
    yield examination
    if any(rule.looks_at(Normalised) for rule in _rules(options)):
        agent = normalised(examination.facts.checkpoint, run)
        if agent is not None:
            yield agent
    if _look_at_code(options):
        yield examination.facts.code.without_the_calm()


def _look_at_code(options: ScanOptions) -> bool:
    return any(rule.looks_at(LoadedCode) for rule in _rules(options))


def status_of(
    layers: Iterable[LayerReport],
    found: Iterable[Finding],
    options: ScanOptions,
    unjudged: Unjudged | None = None,
) -> Status:
    """Return a checkpoint's status: its worst severity, over findings and layers.

    Findings in passing do not count. Without any severity it is healthy, or unknown where there is
    a reason why it is `unjudged`.
    """
    severities = [finding.severity for finding in found if not finding.in_passing]
    rules = _rules(options)
    if all(rule in rules for rule in RULES if rule.grades_biases):
        severities += [layer.severity for layer in layers if layer.severity]
    return Status.of(severities, judged=unjudged is None)


def report_of_error(error: SacdoctorError, options: ScanOptions | None = None) -> Report:
    """Return the report of a checkpoint that could not be read.

    With `options` it is looked into for the code that loading it would run all the same, and the
    reason names the worst of it: a name that stopped the reading may be why the file was made.
    """
    error.__traceback__ = None  # its frames hold what was read so far, perhaps half a gibibyte
    path = str(error.path) if error.path is not None else ""
    is_foreign = isinstance(error, ForeignCheckpoint)
    has_changed = isinstance(error, ChangedFile)  # what is there now is another
    code = _code_despite(path, options) if path and options and not has_changed else ()
    # What another library writes is unknown code throughout, which what the file is says already.
    told = [f for f in code[:1] if not is_foreign or f.severity is Severity.CRITICAL]
    reason = error.reason + "".join(f" ({f.rule}: {_first_line(f)})" for f in told)
    found = (*code, *findings([error], RULES))
    return Report(path, status=Status.ERROR, error=reason, findings=found)


def _first_line(finding: Finding) -> str:
    line = finding.evidence.partition("\n")[0]
    return line if len(line) <= _MAX_LINE else line[:_MAX_LINE] + " …"


def _code_despite(path: str, options: ScanOptions) -> tuple[Finding, ...]:
    if is_pickle_file(path):
        return ()  # it was looked into, and not one name was found
    parts: list[PickledPart] = []
    packages: frozenset[str] = frozenset()
    try:
        with Checkpoint(path) as checkpoint:
            if checkpoint.foreign is not None:
                packages = checkpoint.foreign.packages
            for part in parts_of(checkpoint):
                parts.append(part)  # what was found before damage counts
    except SacdoctorError:
        # torch reads whatever is no zip as a pickle.
        parts += parts_of_pickle(path) if begins_as_pickle(path) else ()
    # That they cannot be read is what the error says.
    code = LoadedCode(suspicions([part.readable() for part in parts], packages, options.trusted))
    if not looks_at_code_alone(options):
        # An object of an unknown class may be what stopped the reading.
        code = LoadedCode(s for s in code if not s.is_calm or s.is_beside_tensors)
    return findings([code], _rules(options))


def looks_at_code_alone(options: ScanOptions) -> bool:
    """Return whether rules about code are selected, and none that examines tensors."""
    return _look_at_code(options) and not any(
        rule.looks_at(Examination) for rule in _rules(options)
    )


def _report_on_code(facts: Facts, options: ScanOptions) -> Report:
    checkpoint = facts.checkpoint
    checkpoint.refuse_foreign()
    found = findings([facts.code], _rules(options))
    if not checkpoint.container.has_settings:
        return Report(str(checkpoint.path), status=status_of((), found, options), findings=found)
    settings = checkpoint.hyperparameters
    return Report(
        path=str(checkpoint.path),
        status=status_of((), found, options),
        algorithm=algorithm_of(settings, ()),
        policy_class=checkpoint.policy_class,
        sb3_version=checkpoint.sb3_version,
        num_timesteps=settings.integer("num_timesteps"),
        n_updates=settings.integer("_n_updates"),
        learning_rate=settings.number("learning_rate"),
        findings=found,
    )


def _diagnose_pickle(path: str | Path, options: ScanOptions) -> Report:
    """Return the report of a pickle: what loading it would run, and what is in a replay buffer."""
    able = [rule for rule in RULES if rule.looks_at(LoadedCode)]
    if not set(able) & set(_rules(options)):
        audit = _audited_if_any(path, options)
        if audit is None:
            codes = " and ".join(rule.code for rule in able)
            raise UnsupportedCheckpoint(
                f"it is a pickle of its own, which {codes} look at, and neither is selected", path
            )
        return _report_on_buffer(path, audit, (), options)
    parts = parts_of_pickle(path)
    if all(reference.kind is Kind.UNREAD for part in parts for reference in part.references):
        kind = foreign_bytes(map_file(Path(path)))
        if kind is not None:
            raise ForeignCheckpoint(kind).at(path)
        for reference in parts[0].references:
            raise CorruptCheckpoint(reference.name.qualname, path)
    code = LoadedCode(suspicions(parts, trusted=options.trusted))
    audit = _audited_if_any(path, options)
    if audit is not None:
        own = LoadedCode(one for one in code if not _makes_an_object(one))
        return _report_on_buffer(path, audit, findings([own], _rules(options)), options)
    found = findings([code], _rules(options))
    status = status_of((), found, options, Unjudged.CODE_ALONE)
    return Report(str(path), status, findings=found, unjudged=Unjudged.CODE_ALONE)


def _audited_if_any(path: str | Path, options: ScanOptions) -> _Audit | None:
    """Return the audit of the replay buffer in a pickle; None for other pickles, or unasked."""
    if _looks_at_buffers(options):
        with suppress(SacdoctorError):  # it holds something else, or what belongs to it is broken
            return _audited(path, options)
    return None


def _makes_an_object(suspicion: Suspicion) -> bool:
    """Return whether it is no worse than an object of a class of the user's.

    A buffer of his own is one; to somebody who asks for its health that says nothing. The gate
    (`looks_at_code_alone`) names it.
    """
    return suspicion.severity is Severity.WARNING and suspicion.reference.kind is Kind.MAKE


def _diagnose_arrays(path: str | Path, options: ScanOptions) -> Report:
    """Return the report of a `.npz`, which can only be a replay buffer."""
    if not _looks_at_buffers(options):
        raise UnsupportedCheckpoint(
            "it holds arrays alone, and no rule is selected that looks at a replay buffer", path
        )
    return _report_on_buffer(path, _audited(path, options), (), options)


def _looks_at_buffers(options: ScanOptions) -> bool:
    return any(
        rule.looks_at(ForcedTransitions) or rule.looks_at(StoredTransitions)
        for rule in _rules(options)
    )


class _Audit(NamedTuple):
    """What is known of a replay buffer; `stored` is None where no rule looks at it."""

    warmup: WarmupReport
    stored: StoredTransitions | None


def _audited(path: str | Path, options: ScanOptions) -> _Audit:
    # Only a buffer takes what reads it.
    from sacdoctor.diagnosis.warmup import audit_buffer, audit_warmup

    if any(rule.looks_at(StoredTransitions) for rule in _rules(options)):
        return _Audit(*audit_buffer(path))
    return _Audit(audit_warmup(path, code=False), None)


def _report_on_buffer(
    path: str | Path, audited: _Audit, code: tuple[Finding, ...], options: ScanOptions
) -> Report:
    """Return the report of a replay buffer, `code` being the findings about what it would run."""
    audit, stored = audited
    asked = _rules(options)
    subjects = () if stored is None else (stored,)
    about = [Found(s, rule, f) for s in subjects for rule in asked for f in rule.findings_in(s)]
    told = [Found(audit, rule_of(f), f) for f in audit.findings if rule_of(f) in asked]
    found = causes([*told, *about, *(Found(path, rule_of(f), f) for f in code)])
    severities = [finding.severity for finding in found]
    if audit.is_suspected:
        severities.append(Severity.NOTICE)
    return Report(
        str(path),
        Status.of(severities, judged=audit.is_told),
        findings=found,
        unjudged=None if audit.is_told else Unjudged.ACTIONS,
        replay=audit.held,
    )


def _summary(layers: Iterable[LayerReport]) -> Summary:
    own = [layer for layer in layers if layer.alias_of is None]
    biases = [layer for layer in own if layer.role == "bias" and layer.parameters]
    parameters = sum(layer.parameters for layer in own)
    zeros = sum(layer.zeros for layer in own)
    return Summary(
        tensors=len(own),
        parameters=parameters,
        zero_parameters=zeros,
        zero_percent=100.0 * zeros / parameters if parameters else 0.0,
        bias_tensors=len(biases),
        all_zero_bias_tensors=sum(layer.zeros == layer.parameters for layer in biases),
        critical=sum(layer.severity is Severity.CRITICAL for layer in biases),
        warning=sum(layer.severity is Severity.WARNING for layer in biases),
        notice=sum(layer.severity is Severity.NOTICE for layer in biases),
    )
