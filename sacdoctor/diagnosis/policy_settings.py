"""What settings say of the networks: their activation, first biases, size of their inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

from sacdoctor.algorithms import Algorithm
from sacdoctor.checkpoint import Checkpoint, Pickled
from sacdoctor.errors import CheckpointError
from sacdoctor.pickles import Name, PickledArray, Symbols, WithArrays, read_pickle

SWITCHING = frozenset(("ReLU",))
"""Activations whose gradient is exactly 0 wherever a unit is off."""
SATURATING = frozenset(("Tanh", "Sigmoid", "Softsign", "Hardtanh", "Hardsigmoid", "ReLU6"))
"""Activations with limits, where in float32 the gradient is exactly 0."""
_SB3 = ("stable_baselines3.", "sb3_contrib.")
_CNN = re.compile(r"(.*\.)?(\w+_)?features_extractor\.(extractors\.\w+\.)?(cnn|linear)\.")
"""SB3's NatureCNN, alone or for the images of a dict; it knows no activation but ReLU."""
_OUTPUTS = ("action_net", "value_net")


def policy_arguments(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return `policy_kwargs`, classes in it as `Name`; empty where they are unknown."""
    value = checkpoint.hyperparameters.get("policy_kwargs")
    if isinstance(value, Pickled):
        try:
            value = read_pickle(value.pickle(), Symbols())
        except CheckpointError:
            return {}
    return value if isinstance(value, dict) else {}


def activation_behind(checkpoint: Checkpoint, row: Algorithm | None, name: str) -> str | None:
    """Return the class in `torch.nn` of the activation behind a tensor's layer.

    None where there is none, or where it is not known: layers that users wrote.
    """
    arguments = policy_arguments(checkpoint)
    if name.startswith(_OUTPUTS):
        return None
    if "features_extractor." in name:
        extractor = arguments.get("features_extractor_class")
        own = extractor is None or str(extractor).startswith(_SB3)
        return "ReLU" if own and _CNN.match(name) else None
    of_sb3 = (checkpoint.policy_class or "").startswith(_SB3)
    if not of_sb3 and not name.startswith("mlp_extractor."):
        return None
    chosen = arguments.get("activation_fn")
    if isinstance(chosen, Name):
        return chosen.qualname
    return row.default_activation if row is not None and chosen is None else None


def biases_start_at_zero(checkpoint: Checkpoint, row: Algorithm | None) -> bool:
    """Return whether SB3 set the biases to 0 when it made the policy.

    Source: `init_weights` and `ortho_init` in stable_baselines3/common/policies.py. Elsewhere they
    are PyTorch's uniform draw, in which no element is exactly 0.
    """
    if row is None or not row.biases_start_at_zero:
        return False
    return policy_arguments(checkpoint).get("ortho_init", True) is not False


def last_observations(checkpoint: Checkpoint) -> list[NDArray[np.floating[Any]]]:
    """Return what the agent saw last, a row for each environment; of a dict each entry's.

    Empty where the file holds none, or none of floats: images are divided by 255, and whole numbers
    become one-hot vectors, before any layer sees them.
    """
    seen = observations(checkpoint, "_last_obs").values()
    return [values for values in seen if values.dtype.kind == "f" and values.size and values.ndim]


def brightest_raw_pixel(checkpoint: Checkpoint) -> int:
    """Return the largest number of an image that SB3's layers get undivided by 255, 0 for none.

    So it is with `normalize_images=False`. What an extractor of the user's does is not known, and
    images of another type than bytes are taken to be scaled.
    """
    arguments = policy_arguments(checkpoint)
    extractor = arguments.get("features_extractor_class")
    if arguments.get("normalize_images") is not False or not (
        extractor is None or str(extractor).startswith(_SB3)
    ):
        return 0
    images = [
        image
        for image in observations(checkpoint, "_last_obs").values()
        if image.dtype.kind == "u" and image.dtype.itemsize == 1 and image.ndim == 4
    ]
    return max((int(image.max(initial=0)) for image in images), default=0)


def observations(checkpoint: Checkpoint, key: str) -> dict[str, NDArray[Any]]:
    """Return the observations under a key of the settings, a row for each environment.

    Those of a dict by their keys, any other under the empty text; empty where the file holds none.
    """
    value = checkpoint.hyperparameters.get(key)
    if not isinstance(value, Pickled):
        return {}
    try:
        return {name: array.view() for name, array in _arrays(value.read(WithArrays()))}
    except CheckpointError:
        return {}


def _arrays(value: Any) -> Iterator[tuple[str, PickledArray]]:
    """Yield the array, or those of a dict of observations, by their names."""
    for name, item in value.items() if isinstance(value, dict) else (("", value),):
        if isinstance(item, PickledArray):
            yield str(name), item
