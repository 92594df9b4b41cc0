"""One checkpoint in, its report out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sacdoctor.algorithms import algorithm_of
from sacdoctor.checkpoint import Checkpoint
from sacdoctor.diagnosis.examination import Examination, examine
from sacdoctor.diagnosis.options import ScanOptions
from sacdoctor.diagnosis.rules.registry import findings, from_error, selected
from sacdoctor.errors import CorruptCheckpoint, SacdoctorError, UnsupportedCheckpoint
from sacdoctor.model import Finding, LayerReport, Report, Summary
from sacdoctor.severity import Severity, worst
from sacdoctor.trust.parts import (
    PickledPart,
    begins_as_pickle,
    is_pickle_file,
    parts_of,
    parts_of_pickle,
)
from sacdoctor.trust.references import Kind

_MAX_LINE = 120
"""Characters of a finding that stand in the line about a file that cannot be read."""


def scan(path: str | Path, options: ScanOptions | None = None) -> Report:
    """Return the report of the checkpoint at `path`.

    A pickle of its own (a replay buffer, `VecNormalize`) has a report without layers: only what
    loading it would run is looked at.

    Raises `CheckpointError` where it cannot be read. Nothing in the file is executed.
    """
    options = options or ScanOptions()
    if is_pickle_file(path):
        return _diagnose_pickle(path, options)
    with Checkpoint(path) as checkpoint:
        return diagnose(checkpoint, options)


def diagnose(checkpoint: Checkpoint, options: ScanOptions) -> Report:
    """Return the report of an open checkpoint.

    Where all selected rules look at code alone, no tensor is read, and there are no layers.
    """
    if looks_at_code_alone(options):
        return _diagnose_code(checkpoint, options)
    return report_of(examined(checkpoint, options), options)


@np.errstate(all="ignore")  # numbers from a damaged run overflow; rules judge what comes of it
def examined(checkpoint: Checkpoint, options: ScanOptions) -> Examination:
    """Return the examination of an open checkpoint as the options ask for it."""
    return examine(checkpoint, options.thresholds, options.components, options.selects)


@np.errstate(all="ignore")
def report_of(examination: Examination, options: ScanOptions) -> Report:
    """Return what the rules make of an examination."""
    checkpoint = examination.facts.checkpoint
    settings = checkpoint.hyperparameters
    rules = selected(options.select, options.ignore)
    found = findings(examination, parts_of(checkpoint), rules, with_references=False)
    return Report(
        path=str(checkpoint.path),
        status=status_of(examination.layers, found, options),
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
    )


def status_of(layers: Iterable[LayerReport], found: Iterable[Finding], options: ScanOptions) -> str:
    """Return a checkpoint's status: its worst severity, over findings and layers."""
    severities = [finding.severity for finding in found]
    if {"SD101", "SD102"} <= {rule.code for rule in selected(options.select, options.ignore)}:
        # Layers count by themselves too: a notice is no finding.
        severities += [layer.severity for layer in layers if layer.severity]
    status = worst(severities)
    return "healthy" if status is Severity.OK else status.value


def report_of_error(error: SacdoctorError, options: ScanOptions | None = None) -> Report:
    """Return the report of a checkpoint that could not be read.

    With `options` it is looked into for the code that loading it would run all the same, and the
    reason names the worst of it: a name that stopped the reading may be why the file was made.
    """
    error.__traceback__ = None  # its frames hold what was read so far, perhaps half a gibibyte
    path = str(error.path) if error.path is not None else ""
    code = _code_despite(path, options) if path and options is not None else ()
    reason = error.reason + "".join(f" ({f.rule}: {_first_line(f)})" for f in code[:1])
    return Report(path, status="error", error=reason, findings=(*code, from_error(error)))


def _first_line(finding: Finding) -> str:
    line = finding.evidence.partition("\n")[0]
    return line if len(line) <= _MAX_LINE else line[:_MAX_LINE] + " …"


def _code_despite(path: str, options: ScanOptions) -> tuple[Finding, ...]:
    parts: list[PickledPart] = []
    try:
        with Checkpoint(path) as checkpoint:
            for part in parts_of(checkpoint):
                parts.append(part)  # what was found before damage counts
    except SacdoctorError:
        # torch reads whatever is no zip as a pickle.
        parts += parts_of_pickle(path) if begins_as_pickle(path) else ()
    rules = selected(options.select, options.ignore)
    # That they cannot be read is what the error says.
    known = [part.readable() for part in parts]
    return findings(None, known, rules, with_references=looks_at_code_alone(options))


def looks_at_code_alone(options: ScanOptions) -> bool:
    """Return whether rules about code are selected, and none that examines tensors."""
    rules = selected(options.select, options.ignore)
    return any(rule.check_code for rule in rules) and not any(rule.check for rule in rules)


def _diagnose_code(checkpoint: Checkpoint, options: ScanOptions) -> Report:
    settings = checkpoint.hyperparameters
    rules = selected(options.select, options.ignore)
    found = findings(None, parts_of(checkpoint), rules, with_references=True)
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
    rules = selected(options.select, options.ignore)
    if not any(rule.check_code for rule in rules):
        raise UnsupportedCheckpoint(
            "it is a pickle of its own, which SD601 and SD602 look at, and neither is selected",
            path,
        )
    parts = parts_of_pickle(path)
    if all(reference.kind is Kind.UNREAD for part in parts for reference in part.references):
        for reference in parts[0].references:
            raise CorruptCheckpoint(reference.name.qualname, path)
    found = findings(None, parts, rules, with_references=True)
    return Report(str(path), status_of((), found, options), findings=found)


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
