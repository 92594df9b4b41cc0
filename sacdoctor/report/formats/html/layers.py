"""The map of an agent's layers: each with how bad it is, its zeros, its gates, what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from markupsafe import Markup
from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.diagnosis.spread import Spread, spreads
from sacdoctor.errors import SacdoctorError
from sacdoctor.layers import split_name
from sacdoctor.model import Finding, LayerReport
from sacdoctor.report.formats.html.charts import histograms
from sacdoctor.report.formats.html.page import number, percent
from sacdoctor.report.text import counted
from sacdoctor.severity import Severity, worst

_MOST_TILES = 600
"""Layers on a page: nobody looks at more, and a hostile file can name a hundred thousand."""
_MOST_PICTURES = 160
"""Tensors on a page whose values are drawn: of more, those in trouble first. All of them together
take about a second and 400 KB."""


class Row(Struct, frozen=True):
    """A tensor of a layer; `picture` shows how its values are spread, `values` says it."""

    tensor: LayerReport
    picture: Markup | None = None
    values: str = ""


class Tile(Struct, frozen=True):
    """A layer: `share` is the part of its biases (or else of all its elements) that is zero."""

    key: str
    name: str
    kind: str
    severity: Severity
    share: float | None
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]

    @property
    def gates(self) -> Mapping[str, float]:
        """The share of zeros in each gate of its biases, the worst of them where there are two."""
        found: dict[str, float] = {}
        for row in self.rows:
            if row.tensor.role == "bias" and row.tensor.gates:
                for gate, share in row.tensor.gates.items():
                    found[gate] = max(share, found.get(gate, 0.0))
        return found

    @property
    def alias_of(self) -> str | None:
        """The layer that this one is, where it is the same tensors under another name."""
        others = {row.tensor.alias_of for row in self.rows}
        owners = {split_name(other)[0] for other in others if other is not None}
        return owners.pop() if None not in others and len(owners) == 1 else None

    @property
    def elements(self) -> int:
        """How many numbers the layer holds."""
        return sum(row.tensor.parameters for row in self.rows)


class Component(Struct, frozen=True):
    """A part of the agent and its layers."""

    name: str
    tiles: tuple[Tile, ...]

    @property
    def severity(self) -> Severity:
        """The worst of any of its layers."""
        return worst(tile.severity for tile in self.tiles)


class LayerMap(Struct, frozen=True):
    """The parts of an agent, the worst first; `hidden` counts the layers that are not shown.

    `places` has for each tensor the key of its layer.
    """

    components: tuple[Component, ...]
    hidden: int
    places: Mapping[str, str]


def layer_map(
    layers: Sequence[LayerReport], findings: Iterable[Finding], path: str | None, key: str
) -> LayerMap:
    """Return the map of a checkpoint's layers; their values are read from the file at `path`.

    `key` makes the places of this map unlike those of others on the page.
    """
    about: dict[str, list[Finding]] = {}
    for finding in findings:
        for name in dict.fromkeys(finding.tensors):
            about.setdefault(name, []).append(finding)
    members: dict[tuple[str, str], list[LayerReport]] = {}
    for layer in layers:
        members.setdefault((layer.component, split_name(layer.name)[0]), []).append(layer)
    tiles = [
        (component, _tile(f"{key}-layer-{place}", name, rows, about))
        for place, ((component, name), rows) in enumerate(members.items())
    ]
    shown = tiles
    if len(tiles) > _MOST_TILES:
        by_severity = sorted(tiles, key=lambda one: -one[1].severity.rank)
        kept = {tile.key for _, tile in by_severity[:_MOST_TILES]}
        shown = [one for one in tiles if one[1].key in kept]
    pictures = _pictures([tile for _, tile in shown], path) if path is not None else {}
    grouped: dict[str, list[Tile]] = {}
    for component, tile in shown:
        rows = tuple(
            Row(row.tensor, *pictures.get(row.tensor.name, (None, ""))) for row in tile.rows
        )
        grouped.setdefault(component, []).append(replace(tile, rows=rows))
    components = [Component(name, tuple(of)) for name, of in grouped.items()]
    components.sort(key=lambda component: -component.severity.rank)
    places = {row.tensor.name: tile.key for _, tile in shown for row in tile.rows}
    return LayerMap(tuple(components), len(tiles) - len(shown), places)


def _tile(
    key: str, name: str, members: Sequence[LayerReport], about: Mapping[str, Sequence[Finding]]
) -> Tile:
    found = {id(one): one for layer in members for one in about.get(layer.name, ())}
    severity = worst(
        [layer.severity for layer in members if layer.severity is not None]
        + [finding.severity for finding in found.values()]
    )
    own = [layer for layer in members if layer.alias_of is None and layer.role != "buffer"]
    counted_ones = [layer for layer in own if layer.role == "bias"] or own
    total = sum(layer.parameters for layer in counted_ones)
    share = 100.0 * sum(layer.zeros for layer in counted_ones) / total if total else None
    return Tile(
        key,
        name or (members[0].name if len(members) == 1 else "outside any layer"),
        members[0].kind,
        severity,
        share,
        tuple(map(Row, members)),
        tuple(sorted(found.values(), key=lambda finding: -finding.severity.rank)),
    )


def _pictures(tiles: Sequence[Tile], path: str) -> dict[str, tuple[Markup, str]]:
    """Return the picture of each tensor's values and the same in words, by the tensor's name.

    There is none of what can no longer be read.
    """
    wanted = {
        row.tensor.name: f"{tile.key}-{place}"
        for tile in sorted(tiles, key=lambda tile: -tile.severity.rank)
        for place, row in enumerate(tile.rows)
        if row.tensor.alias_of is None and row.tensor.role != "buffer" and row.tensor.parameters > 1
    }
    names = list(wanted)[:_MOST_PICTURES]
    found: dict[str, Spread] = {}
    with suppress(SacdoctorError):
        found = spreads(path, names)
    words = {name: _in_words(spread) for name, spread in found.items()}
    drawn = histograms(
        {wanted[name]: spread for name, spread in found.items()},
        {wanted[name]: f"Histogram: {words[name]}" for name in found},
    )
    return {name: (drawn[wanted[name]], words[name]) for name in found}


def _in_words(spread: Spread) -> str:
    said = [f"{percent(100.0 * spread.zeros / spread.total)} exactly zero"]
    if spread.median is not None:
        said.append(f"half of the others below {number(spread.median)} in size")
    if spread.non_finite:
        said.append(f"{counted(spread.non_finite, 'element')} NaN or infinite")
    return ", ".join(said)
