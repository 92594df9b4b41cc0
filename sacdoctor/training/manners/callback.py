"""The callback that all others here are derived from: one beginning and one end per training."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from sacdoctor.training.manners.console import say

_NOT_TOLD = ("on_rollout_start", "on_rollout_end", "on_training_end")
"""What an event such as `EveryNTimesteps` keeps from the callback inside it."""


class TrainingCallback(BaseCallback):
    """A callback whose `_on_training_end` runs once for every `_on_training_start`.

    SB3 tells a callback of the end once, rl-zoo tells the first one again, and one that is inside
    of an event (`EveryNTimesteps`, `EvalCallback`) is not told at all, nor of rollouts.

    :param verbose: 0 warnings only, 1 events and a summary at the end as well, 2 details too
    """

    def __init__(self, verbose: int = 1) -> None:
        super().__init__(verbose)
        self._trains = False

    def on_training_start(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
        self._trains = True
        if self.parent is not None:
            _follow(_outermost(self.parent), self)
        super().on_training_start(locals_, globals_)

    def on_training_end(self) -> None:
        if not self._trains:
            return
        self._trains = False
        if self.parent is not None:
            _unfollow(_outermost(self.parent), self)
        super().on_training_end()

    def _say(self, message: str, *, least: int = 1) -> None:
        """Say what happened, to people from verbosity `least` on."""
        say(message, shown=self.verbose >= least)


class _Relay:
    """Stands for a method of one callback, and calls that of its followers after it."""

    def __init__(self, top: BaseCallback, event: str) -> None:
        self._own = getattr(top, event)
        self._event = event
        self.followers: list[BaseCallback] = []

    def __call__(self) -> None:
        self._own()
        for follower in list(self.followers):
            getattr(follower, self._event)()


def _outermost(callback: BaseCallback) -> BaseCallback:
    while callback.parent is not None:
        callback = callback.parent
    return callback


def _follow(top: BaseCallback, follower: BaseCallback) -> None:
    for event in _NOT_TOLD:
        relay = vars(top).get(event)
        if not isinstance(relay, _Relay):
            relay = _Relay(top, event)
            setattr(top, event, relay)
        if follower not in relay.followers:
            relay.followers.append(follower)


def _unfollow(top: BaseCallback, follower: BaseCallback) -> None:
    for event in _NOT_TOLD:
        relay = vars(top).get(event)
        if isinstance(relay, _Relay):
            if follower in relay.followers:
                relay.followers.remove(follower)
            if not relay.followers:
                delattr(top, event)
