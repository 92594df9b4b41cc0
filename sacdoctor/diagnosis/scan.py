"""One checkpoint in, its report out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from sacdoctor.checkpoint import Checkpoint, Tensor
from sacdoctor.diagnosis.model import LayerReport, Report, Summary
from sacdoctor.diagnosis.severity import Severity, Thresholds, worst
from sacdoctor.diagnosis.statistics import all_equal, count_zeros, gate_zero_percent
from sacdoctor.layers import Kind, Role, roles


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How to look: thresholds, which tensors (shell-style name patterns), and their components.

    `include` empty means all; `exclude` wins over `include`. `components` maps name patterns to
    component names.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)

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
    settings = checkpoint.hyperparameters
    layers = _layers(checkpoint.tensors, options)
    summary = _summary(layers)
    status = worst([layer.severity for layer in layers if layer.severity is not None])
    return Report(
        path=str(checkpoint.path),
        status="healthy" if status is Severity.OK else status.value,
        algorithm=checkpoint.algorithm,
        policy_class=checkpoint.policy_class,
        sb3_version=checkpoint.sb3_version,
        num_timesteps=settings.integer("num_timesteps"),
        n_updates=settings.integer("_n_updates"),
        learning_rate=settings.number("learning_rate"),
        optimizer_learning_rates={
            name: optimizer.learning_rate for name, optimizer in checkpoint.optimizers.items()
        },
        summary=summary,
        layers=layers,
        thresholds=options.thresholds,
    )


def _layers(tensors: Mapping[str, Tensor], options: ScanOptions) -> tuple[LayerReport, ...]:
    found = roles(
        {name: tensor.shape for name, tensor in tensors.items()},
        frozenset(n for n, t in tensors.items() if not t.dtype.is_floating_point),
        options.components,
    )
    aliases = _aliases(tensors)
    return tuple(
        _layer(tensors, found[name], aliases.get(name), options.thresholds)
        for name in tensors
        if options.selects(name)
    )


def _layer(
    tensors: Mapping[str, Tensor], role: Role, alias_of: str | None, thresholds: Thresholds
) -> LayerReport:
    tensor = tensors[role.name]
    zeros = count_zeros(tensor)
    percent = 100.0 * zeros / tensor.numel if tensor.numel else 0.0
    severity = cause = evidence = None
    if role.role == "bias" and alias_of is None and tensor.numel:
        severity = thresholds.severity(percent)
        if _is_fresh_norm(tensors, role, zeros == tensor.numel):
            severity, cause = Severity.NOTICE, "normalisation-init"
            evidence = "the layer's bias is all 0 and its weight all 1: its correct starting value"
    return LayerReport(
        name=role.name,
        component=role.component,
        kind=role.kind.value,
        role=role.role,
        shape=tensor.shape,
        parameters=tensor.numel,
        zeros=zeros,
        zero_percent=percent,
        gates=gate_zero_percent(tensor, role.gates) if role.gates else None,
        severity=severity,
        cause=cause,
        evidence=evidence,
        alias_of=alias_of,
    )


def _is_fresh_norm(tensors: Mapping[str, Tensor], role: Role, all_zero: bool) -> bool:
    if role.kind is not Kind.NORM or not all_zero:
        return False
    weight = tensors.get(f"{role.layer}.weight" if role.layer else "weight")
    return weight is not None and all_equal(weight, 1.0)


def _aliases(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return, for every tensor that shares its elements with an earlier one, that one's name."""
    first: dict[tuple[str, tuple[int, int, int]], str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        if not tensor.numel:
            continue
        owner = first.setdefault((tensor.storage.key, tensor.extent), name)
        if owner != name:
            aliases[name] = owner
    return aliases


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
