"""What an agent's networks do on observations as JSON, version 1 of the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sacdoctor.report.formats.json.schema import (
    DECIMALS,
    finding_document,
    finite,
    head_document,
    written,
)
from sacdoctor.report.results import Configuration

if TYPE_CHECKING:
    from sacdoctor.diagnosis import LayerActivity, NetworkActivity
    from sacdoctor.network import ProbeReport


def render(report: ProbeReport, configuration: Configuration | None = None) -> str:
    """Return one JSON document; figures that are not finite are null."""
    document: dict[str, Any] = {
        **head_document(configuration),
        "path": report.path,
        "status": report.status,
        "algorithm": report.algorithm,
        "observations": {"source": report.source, "name": report.name, "count": report.count},
        "networks": [_network(network) for network in report.networks],
        "notes": list(report.notes),
        "findings": [finding_document(finding) for finding in report.findings],
    }
    return written(document) + "\n"


def _network(network: NetworkActivity) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for kind, figures in (("actions", network.actions), ("values", network.values)):
        if figures is not None:
            outputs[kind] = {key: _figure(value) for key, value in figures._asdict().items()}
    return {
        "name": network.name,
        "layers": [_layer(layer) for layer in network.layers],
        "outputs": outputs,
    }


def _figure(value: Any) -> Any:
    if isinstance(value, tuple):
        return [finite(one) for one in value]
    return finite(value) if isinstance(value, float) else value


def _layer(layer: LayerActivity) -> dict[str, Any]:
    def percent(units: int | None) -> float | None:
        return None if units is None else round(100.0 * units / layer.units, DECIMALS)

    return {
        "name": layer.name,
        "activation": layer.activation,
        "units": layer.units,
        "dead_percent": percent(layer.dead),
        "saturated_percent": percent(layer.saturated),
        "dormant_percent": percent(layer.dormant),
        "effective_rank": layer.rank,
    }
