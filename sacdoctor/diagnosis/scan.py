"""One checkpoint in, its report out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from sacdoctor.checkpoint import Checkpoint, SacdoctorError
from sacdoctor.diagnosis.examination import Examination, examine
from sacdoctor.diagnosis.model import Finding, LayerReport, Report, Summary
from sacdoctor.diagnosis.rules import findings, from_error, selected
from sacdoctor.diagnosis.severity import Severity, Thresholds, worst


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How to look: thresholds, which tensors (shell-style name patterns), and which rules.

    `include` empty means all; `exclude` wins over `include`. `components` maps name patterns to
    component names. `select` and `ignore` are rule codes or prefixes of them; `select` empty
    means all.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def selects(self, name: str) -> bool:
        """Return whether the tensor `name` is to be looked at."""
        if any(fnmatchcase(name, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(fnmatchcase(name, pattern) for pattern in self.include)


def scan(path: str | Path, options: ScanOptions | None = None) -> Report:
    """Return the report of the checkpoint at `path`.

    Raises `CheckpointError` where it cannot be read. Nothing in the file is executed.
    """
    with Checkpoint(path) as checkpoint:
        return diagnose(checkpoint, options or ScanOptions())


def diagnose(checkpoint: Checkpoint, options: ScanOptions) -> Report:
    """Return the report of an open checkpoint."""
    return report_of(examined(checkpoint, options), options)


def examined(checkpoint: Checkpoint, options: ScanOptions) -> Examination:
    """Return the examination of an open checkpoint as the options ask for it."""
    return examine(checkpoint, options.thresholds, options.components, options.selects)


def report_of(examination: Examination, options: ScanOptions) -> Report:
    """Return what the rules make of an examination."""
    checkpoint = examination.facts.checkpoint
    settings = checkpoint.hyperparameters
    found = findings(examination, selected(options.select, options.ignore))
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


def report_of_error(error: SacdoctorError) -> Report:
    """Return the report of a checkpoint that could not be read."""
    path = str(error.path) if error.path is not None else ""
    return Report(path, status="error", error=error.reason, findings=(from_error(error),))


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
