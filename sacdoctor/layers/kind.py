"""What kind of layer a group of tensors is, told from their names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sacdoctor.model import Kind as Kind

Shape = tuple[int, ...]

_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+)?(_reverse)?")
_GATES_TO_KIND = {4: "LSTM", 3: "GRU", 1: "RNN"}
NORM_WEIGHTS = ("weight", "scale", "gamma")
"""PyTorch's; that of CrossQ's BatchRenorm (sb3_contrib/common/torch_layers.py); the papers'."""
_WEIGHT_NAMES = (*NORM_WEIGHTS, "weight_orig", "weight_v", "weight_mu")
"""Plain; spectral norm's and weight norm's hooks (torch.nn.utils); noisy networks' mean."""
_NORM_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "ra_mean", "ra_var")


def kind_of(layer: str, shapes: Mapping[str, Shape]) -> Kind:
    """Return the kind of `layer`, whose tensors' last name parts map to `shapes`.

    Recurrent layers: rows of `weight_hh` over hidden size H are 4 for an LSTM, 3 for a GRU, 1 for
    an RNN (torch.nn.LSTM, GRU, RNN, their cells, `_l1`, `_reverse`). With a projection
    (`weight_hr`, LSTM only) the columns are the projection's and say nothing.
    Norm layers: a weight of one dimension, or of the bias's own shape (LayerNorm over several).
    """
    if any(_RECURRENT.fullmatch(part) for part in shapes):
        return _recurrent(layer, shapes)
    if any(part.startswith(("in_proj_", "bias_k", "bias_v", "q_proj_weight")) for part in shapes):
        return Kind.ATTENTION
    weight = _weight(shapes)
    if weight is None:
        return Kind.NORM if any(part in shapes for part in _NORM_BUFFERS) else Kind.OTHER
    bias = shapes.get("bias", shapes.get("beta"))
    if len(weight) <= 1 or weight == bias:
        # A single number is a PReLU's slope or a scale, no normalisation.
        return Kind.OTHER if bias is None and weight in ((), (1,)) else Kind.NORM
    if len(weight) == 2:
        embeds = bias is None and "emb" in layer.lower()
        return Kind.EMBEDDING if embeds else Kind.LINEAR
    return Kind.CONV


def _weight(shapes: Mapping[str, Shape]) -> Shape | None:
    for part in _WEIGHT_NAMES:
        if part in shapes:
            return shapes[part]
    # torch.nn.utils.parametrizations keep the weight one level down, the direction last.
    nested = [part for part in shapes if part.startswith("parametrizations.weight.original")]
    return shapes[max(nested)] if nested else None


def _recurrent(layer: str, shapes: Mapping[str, Shape]) -> Kind:
    if any(part.startswith("weight_hr") for part in shapes):
        return Kind.LSTM
    for part, shape in shapes.items():
        if part.startswith("weight_hh") and len(shape) == 2 and shape[1]:
            gates, rest = divmod(shape[0], shape[1])
            return (
                Kind(_GATES_TO_KIND[gates]) if not rest and gates in _GATES_TO_KIND else Kind.OTHER
            )
    for kind in (Kind.LSTM, Kind.GRU, Kind.RNN):
        if kind.value.lower() in layer.lower():
            return kind
    return Kind.OTHER
