"""What a diagnosis says: plain values that know nothing of files, terminals or formats."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct, field

from sacdoctor.severity import Severity, Status, Thresholds
from sacdoctor.shown import Shown


class Cause(StrEnum):
    """Why a bias is zero: a closed list. Without evidence it is `unknown`; a guess is a defect."""

    NORMALISATION_INIT = "normalisation-init"
    UNTRAINED = "untrained"
    NOT_IN_OPTIMIZER = "not-in-optimizer"
    NO_GRADIENT = "no-gradient"
    ZERO_GRADIENT = "zero-gradient"
    RESET_AFTER_TRAINING = "reset-after-training"
    TARGET_OUT_OF_SYNC = "target-out-of-sync"
    NEVER_UPDATED = "never-updated"
    """Shown by the checkpoints of a run together; one file cannot prove it."""
    UNKNOWN = "unknown"


class Unjudged(StrEnum):
    """Why no tensor of a file was looked at, so that nothing is said about its health."""

    NO_TENSORS = "no-tensors"
    """It holds none, or none that has elements."""
    NO_MATCH = "no-match"
    """It holds some, and no name is let through by the patterns that were asked for."""
    CODE_ALONE = "code-alone"
    """It is a pickle of its own, of which only what loading would run is looked at."""
    ACTIONS = "actions"
    """It is a replay buffer whose outcomes do not tell which actions were carried out."""


class Kind(StrEnum):
    """What kind of layer a tensor belongs to."""

    LSTM = "LSTM"
    GRU = "GRU"
    RNN = "RNN"
    LINEAR = "Linear"
    CONV = "Conv"
    NORM = "Norm"
    ATTENTION = "Attention"
    EMBEDDING = "Embedding"
    OTHER = "Other"


class TensorRole(StrEnum):
    """What a tensor is in its layer; a parameter is named neither like a weight nor like a bias."""

    WEIGHT = "weight"
    BIAS = "bias"
    BUFFER = "buffer"
    PARAMETER = "parameter"


class LayerReport(Struct, frozen=True):
    """One tensor. Percentages run from 0 to 100.

    `severity` is None for buffers, aliases, empty tensors and everything that is no bias.
    `alias_of` names the tensor whose storage this one shares.
    """

    name: str
    component: str
    kind: Kind
    role: TensorRole
    shape: tuple[int, ...]
    parameters: int
    zeros: int
    zero_percent: float
    gates: Mapping[str, float] | None = None
    severity: Severity | None = None
    cause: Cause | None = None
    evidence: str | None = None
    alias_of: str | None = None


class Finding(Struct, frozen=True):
    """An instance of a rule: what is wrong, the numbers that show it, and what to do.

    One `in_passing` says nothing about how the agent is, and leaves its checkpoint's status alone.
    """

    rule: str
    name: str
    severity: Severity
    tensors: tuple[str, ...]
    message: str
    evidence: str
    remedy: str
    in_passing: bool = False


class Summary(Struct, frozen=True):
    """Counts over a checkpoint. Every tensor of the policy once: buffers too, aliases not.

    `critical`, `warning` and `notice` count bias tensors of that severity.
    """

    tensors: int
    parameters: int
    zero_parameters: int
    zero_percent: float
    bias_tensors: int
    all_zero_bias_tensors: int
    critical: int
    warning: int
    notice: int


class BufferSummary(NamedTuple):
    """What a replay buffer holds: `transitions` of `capacity`, rows times environments.

    `arrays` have a row per step: shape and element type by name, as `(capacity, n_envs, …)`.
    """

    class_name: str
    transitions: int
    capacity: int
    n_envs: int
    arrays: Mapping[str, tuple[tuple[int, ...], str]]


class Report(Shown, Struct, frozen=True):
    """The diagnosis of one checkpoint, or of a replay buffer, which `replay` tells of.

    `layers` holds every tensor that was looked at, in the file's order. `learning_rate` is None
    where the file holds a schedule. A checkpoint that cannot be read has `error` set, status
    `error`, and nothing else. `unjudged` says why nothing could be judged, where that is so.
    """

    path: str
    status: Status
    error: str | None = None
    algorithm: str | None = None
    policy_class: str | None = None
    sb3_version: str | None = None
    num_timesteps: int | None = None
    n_updates: int | None = None
    learning_rate: float | None = None
    optimizer_learning_rates: Mapping[str, float | None] = field(default_factory=dict)
    summary: Summary | None = None
    layers: tuple[LayerReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)
    unjudged: Unjudged | None = None
    replay: BufferSummary | None = None

    @property
    def biases(self) -> tuple[LayerReport, ...]:
        """The bias tensors, aliases included."""
        return tuple(layer for layer in self.layers if layer.role == "bias")
