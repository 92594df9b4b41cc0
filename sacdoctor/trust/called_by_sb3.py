"""What SB3 takes the values in its settings for, by their keys: it calls some of them.

Sources: `BaseAlgorithm.load` and `_setup_model` of the algorithms (every value of `data` becomes an
attribute of the model, its schedules and its methods among them), `BaseModel.__init__` in
stable_baselines3/common/policies.py for `policy_kwargs`.
"""

from __future__ import annotations

from typing import Any, Protocol

from sacdoctor.pickles import Made, Name
from sacdoctor.trust.forms import is_schedule, is_thing
from sacdoctor.trust.known_names import role_of
from sacdoctor.trust.things import Role, Thing

_CLASSES = {
    "policy_class": (Role.POLICY,),
    "replay_buffer_class": (Role.BUFFER,),
    "rollout_buffer_class": (Role.BUFFER,),
    "features_extractor_class": (Role.EXTRACTOR,),
    "activation_fn": (Role.ACTIVATION,),
    "optimizer_class": (Role.OPTIMIZER,),
}
"""Keys of `data` and of `policy_kwargs` whose value SB3 calls, and which classes belong there."""
_SCHEDULES = frozenset(
    (
        *("learning_rate", "lr_schedule", "clip_range", "clip_range_vf"),
        *("exploration_schedule", "delta_std_schedule"),
    )
)
_KEYWORDS = "policy_kwargs"
ENVIRONMENT = "env"
"""SB3 leaves it out of what it saves (`excluded_save_params`), and makes the environment of that
name where it stands in `data` all the same: `gymnasium.make("module:name")` imports the module."""


class Judge(Protocol):
    """What the places need of the walk."""

    def is_data(self, value: Any) -> bool:
        """Return whether a value does nothing by itself."""


def fits(judge: Judge, value: Any, place: str) -> bool:
    """Return whether what a pickle describes may stand under a key of SB3's settings.

    `place` is empty outside the settings. What is named by itself may stand anywhere.
    """
    if place == ENVIRONMENT:
        return value is None
    if place in _CLASSES:
        return _is_class(value, _CLASSES[place])
    if place in _SCHEDULES and is_schedule(value):
        return True
    if place == _KEYWORDS and is_thing(value, Role.ORDERED):
        value = value.detail
    if place == _KEYWORDS and isinstance(value, dict):
        if not all(type(key) is str for key in value):
            return False  # what is equal to a key of SB3's, and none of Python's own texts
        called = {key: item for key, item in value.items() if key in _CLASSES}
        rest = {key: item for key, item in value.items() if key not in _CLASSES}
        return all(_is_class(item, _CLASSES[key]) for key, item in called.items()) and all(
            judge.is_data(item) for item in rest.values()
        )
    if place and isinstance(value, Name) and role_of(value.module, value.qualname) is not None:
        return False  # a class among the attributes: SB3 may call it in place of a method
    return judge.is_data(value)


def _is_class(value: Any, roles: tuple[Role, ...]) -> bool:
    if value is None or isinstance(value, (Made, str)):
        return True
    if is_thing(value, Role.PARTIAL):
        value = value.detail
    if isinstance(value, Thing):
        return value.role is Role.SPOILT
    role = role_of(value.module, value.qualname) if isinstance(value, Name) else Role.VALUE
    return role is None or role in roles
