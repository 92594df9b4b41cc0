"""An agent's networks at work on batches of observations: what they do, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from sacdoctor.diagnosis import NetworkActivity, ValueActivity
from sacdoctor.network.activity import Watch
from sacdoctor.network.agents import Agent, Batch, Part, Said
from sacdoctor.network.outputs import (
    COMPARED,
    SAMPLE,
    Heard,
    Outcomes,
    action_effect,
    added_by_actions,
    joined,
    sensitivity,
    thinned,
)


def at_work(
    agent: Agent, batches: Iterable[Batch], count: int, largest_reward: float | None
) -> tuple[NetworkActivity, ...]:
    """Return what each network of an agent does on `count` observations, targets last.

    `largest_reward` is the largest that training knew, without sign; None where that is unknown,
    and what the batches hold has to do.
    """
    watched = [_Watched(agent, part) for part in agent.parts()]
    outcomes = Outcomes(float(getattr(agent.model, "gamma", 1.0)), agent.entropy_coefficient)
    sample: list[Batch] = []
    step, done = max(1, count // SAMPLE), 0
    for batch in batches:
        said: dict[str, Said] = {}
        for one in watched:
            said[one.part.name] = one.work(batch, said)
            acting = said[one.part.name].acting
            if batch.actions is None and agent.critic_takes_actions and acting is not None:
                batch = batch._replace(actions=acting.chosen)
        if agent.judged and batch.rewards is not None:
            with torch.no_grad():
                target = agent.target(batch)
            if target is not None:
                added = None
                if agent.critic_takes_actions:
                    every = max(1, count // COMPARED)
                    added = added_by_actions(agent, batch, -done % every, every)
                outcomes.add(batch, target, added)
        sample.append(thinned(batch, -done % step, step))
        done += batch.size
    looked_into = joined(sample)
    effect = action_effect(agent, looked_into) if agent.critic_takes_actions else None
    equal = {one.part.target_of: one.equals for one in watched if one.part.target_of is not None}
    return tuple(
        NetworkActivity(
            one.part.name,
            one.watch.layers(),
            one.heard.actions(
                () if agent.is_recurrent else sensitivity(one.part.work, looked_into),
                agent.random,
            ),
            _values(one, agent, outcomes, effect, equal.get(one.part.name), largest_reward),
            is_policy=one.part.is_policy,
            is_target=one.part.target_of is not None,
        )
        for one in watched
    )


class _Watched:
    """A network, its layers' activity so far, and what it said."""

    def __init__(self, agent: Agent, part: Part) -> None:
        self.part, self.watch, self.heard = part, Watch(agent.policy), Heard()
        self.equals = True
        """Whether it said exactly what the network said that it is the target of."""

    def work(self, batch: Batch, before: dict[str, Said]) -> Said:
        with self.watch.while_working():
            said = self.part.work(batch)
        self.heard.add(said)
        if self.part.target_of is not None:
            self.equals &= _are_equal(said, before[self.part.target_of])
        return said


def _are_equal(first: Said, second: Said) -> bool:
    if first.values is not None and second.values is not None:
        return torch.equal(first.values, second.values)
    return (
        first.acting is not None
        and second.acting is not None
        and torch.equal(first.acting.chosen, second.acting.chosen)
    )


def _values(
    one: _Watched,
    agent: Agent,
    outcomes: Outcomes,
    effect: float | None,
    equals_target: bool | None,
    largest_reward: float | None,
) -> ValueActivity | None:
    is_judged = one.part.name == agent.judged
    figures = one.heard.values(outcomes if is_judged else None, effect if is_judged else None)
    if figures is None or not is_judged:
        return figures
    return figures._replace(largest=outcomes.largest(largest_reward), equals_target=equals_target)
