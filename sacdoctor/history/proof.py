"""What the checkpoints of a run prove together and no single one does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from sacdoctor.diagnosis import OUTLAST_REPAIR, Attribution, Examination, status_of
from sacdoctor.diagnosis.rules import rule_of
from sacdoctor.history.lineage import Header
from sacdoctor.history.movement import part
from sacdoctor.layers import online_name
from sacdoctor.model import Cause, Finding, LayerReport, Report
from sacdoctor.options import ScanOptions
from sacdoctor.severity import Severity

LEAST_UPDATES = 10
"""So many updates are needed before a tensor that did not move is spoken of. A judgement: one batch
may leave a ReLU layer without any gradient, and policies are updated every second or third time
(TD3, CrossQ); ten in a row are no chance."""
_EXACT = ("float32", "float64")
"""Types in which every step of a usual learning rate shows. In half precision a weight of 1 stays
1 when 1e-4 is added."""
_INITIAL_CAUSES = (Cause.UNTRAINED, Cause.UNKNOWN)
"""What a file says of zeros before the first update: with its optimizers' state, and without."""


class Evidence(Struct):
    """What was seen so far in a run, checkpoint by checkpoint.

    `still` are the weights and biases that never moved, `movers` those that did. `told` are those
    about which some file's own optimizer state speaks, and `proven` what it proves. `alive` has
    for each bias the last checkpoint in which it was in order.
    """

    first: Header
    last: Header
    still: list[str]
    checkpoints: int = 1
    movers: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    proven: dict[str, Attribution] = field(default_factory=dict)
    alive: dict[str, Header] = field(default_factory=dict)

    @classmethod
    def begin(cls, header: Header, examination: Examination) -> Evidence:
        """Return the evidence of a run's first checkpoint."""
        facts = examination.facts
        still = [n for n in facts.parameters if facts.tensors[n].dtype.name in _EXACT]
        return cls(header, header, still)

    def move(self, header: Header, distances: Mapping[str, float | None]) -> None:
        """Take in how far the tensors moved up to the next checkpoint."""
        self.last = header
        self.checkpoints += 1
        self.still = [name for name in self.still if distances.get(name, 0.0) is None]
        self.movers |= {name for name, distance in distances.items() if distance is not None}

    def hear(self, header: Header, examination: Examination) -> None:
        """Take in what one checkpoint's optimizer state says about its tensors."""
        facts = examination.facts
        for layer in examination.layers:
            if layer.severity is Severity.OK:
                self.alive[layer.name] = header
        if facts.is_untrained:
            return
        self.told |= facts.coverage.outside
        for name in facts.parameters:
            for slot in facts.coverage.slots.get(name, ()):
                if facts.optimizers[slot.optimizer].moments:
                    self.told.add(name)
        for layer in examination.layers:
            if layer.cause in OUTLAST_REPAIR and layer.evidence:
                evidence = f"{header.path.name} proves it: {layer.evidence}"
                self.proven[layer.name] = Attribution(layer.cause, evidence)

    def resets(self, layers: Iterable[LayerReport]) -> dict[str, Attribution]:
        """Return those of the layers, of a later checkpoint, that were in order before it."""
        return {
            layer.name: Attribution(
                Cause.RESET_AFTER_TRAINING,
                f"it was in order in {self.alive[layer.name].path.name} "
                f"({self.alive[layer.name].steps:,} timesteps): something set it to 0 "
                "after that",
            )
            for layer in layers
            if layer.name in self.alive and layer.severity is not Severity.OK
        }

    def updates_to(self, header: Header) -> int | None:
        """Return the updates since the last checkpoint, None where they do not say."""
        if self.last.updates is None or header.updates is None:
            return None
        return header.updates - self.last.updates

    @property
    def updates(self) -> int | None:
        """Updates between the first and the last checkpoint, None where they do not say."""
        if self.first.updates is None or self.last.updates is None:
            return None
        return self.last.updates - self.first.updates

    def never_updated(self) -> dict[str, Attribution]:
        """Return the tensors that never moved though others of their optimizer did, with why.

        The cause is what a checkpoint of the run proves, else `never-updated`.
        """
        if self.updates is None or self.updates < LEAST_UPDATES:
            return {}
        found: dict[str, Attribution] = {}
        online = {name for name in self.movers if online_name(name) is None}
        for name in self.still:
            movers = sum(part(other) == part(name) for other in online)
            if movers and online_name(name) is None:
                found[name] = self.proven.get(name) or Attribution(
                    Cause.NEVER_UPDATED, self._sentence(name, movers)
                )
        return found

    def _sentence(self, name: str, movers: int) -> str:
        others = movers + sum(part(n) == part(name) and online_name(n) is None for n in self.still)
        where = f"of the {part(name)} " if part(name) else ""
        return (
            f"identical in all {self.checkpoints} checkpoints from {self.first.steps:,} "
            f"to {self.last.steps:,} timesteps ({self.updates:,} updates), while "
            f"{movers:,} of the {others - 1:,} other weights and biases {where}moved"
        )


def settled(
    report: Report,
    attributions: Mapping[str, Attribution],
    innocent: frozenset[str],
    options: ScanOptions,
) -> Report:
    """Return a checkpoint's report in the light of the whole run.

    Causes that its own file leaves `unknown` become those that the run proves. `innocent` are
    tensors that are zero because no update had come yet, and moved later: those are no trouble.
    """
    layers = tuple(
        explained(layer, attributions)
        for layer in report.layers
        if layer.name not in innocent or layer.cause not in _INITIAL_CAUSES
    )
    findings = tuple(
        finding
        for finding in (_without(finding, innocent) for finding in report.findings)
        if finding is not None
    )
    status = status_of(layers, findings, options, report.unjudged)
    return replace(report, layers=layers, findings=findings, status=status)


def explained(layer: LayerReport, attributions: Mapping[str, Attribution]) -> LayerReport:
    """Return a layer with the cause that the run proves where its own file leaves it `unknown`."""
    if layer.cause is not Cause.UNKNOWN:
        return layer
    attribution = attributions.get(layer.name)
    online = online_name(layer.name)
    if online is not None and online in attributions:
        attribution = attributions[online]
        attribution = Attribution(
            attribution.cause, f"as its online counterpart {online}: {attribution.evidence}"
        )
    if attribution is None:
        return layer
    return replace(layer, cause=attribution.cause, evidence=attribution.evidence)


def _without(finding: Finding, innocent: frozenset[str]) -> Finding | None:
    if not rule_of(finding).takes_initial_zeros:
        return finding
    left = tuple(name for name in finding.tensors if name not in innocent)
    return replace(finding, tensors=left) if left else None
