"""A SAC of one's own behind a warm-up without trades, in one file: torch and numpy, no SB3.

The market carries out action 0 for its first 5,000 steps, inside `step`, whatever the agent chose.
An agent that is updated meanwhile, from the actions that it sampled, learns that they all do the
same: at the learning rate of 5e-3 its temperature is gone when trading begins, and many a one has
not recovered 1,000 steps later. Three lines make the difference: `WarmupGate` says when to update,
`executed_action` what to store, and `TrainingMonitor` looks after networks, optimizers and returns.

    python examples/own_sac.py             train one agent
    python examples/own_sac.py --compare   with and without the gate, over several seeds
"""

from __future__ import annotations

import argparse
import copy
import logging
from typing import Any

import numpy as np
import torch as th
from torch import nn

from sacdoctor.training import TrainingMonitor, WarmupGate, executed_action

REVERSION, VOLATILITY, COST = 0.2, 0.01, 2e-3
EPISODE = 64
THRESHOLD = 0.25  # actions closer to 0 than this mean no position
HIDDEN, BATCH, LEARNING_RATE, GAMMA, TAU = 32, 32, 5e-3, 0.9, 0.005


class Market:
    """A mean-reverting asset with costs; for its first `forced` steps no action is carried out.

    The action's sign is the position wanted, long or short; rewards are in percent. What was
    carried out stands in the info: the one line that an environment has to add.
    """

    def __init__(self, forced: int, seed: int) -> None:
        self.forced = forced
        self.steps = 0
        self._random = np.random.default_rng(seed)

    def reset(self) -> np.ndarray:
        """Begin an episode; what is observed are the price, its last change and the position."""
        self._price = self._random.normal(0.0, VOLATILITY / (1.0 - (1.0 - REVERSION) ** 2) ** 0.5)
        self._change = self._position = 0.0
        self._left = EPISODE
        return self._observed()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, dict[str, Any]]:
        """Trade, see the price move, and earn or lose."""
        forced = self.steps < self.forced
        executed = np.zeros_like(action) if forced else action
        position = float(np.sign(executed[0])) if abs(executed[0]) > THRESHOLD else 0.0
        traded, self._position = abs(position - self._position), position
        self._change = -REVERSION * self._price + self._random.normal(0.0, VOLATILITY)
        self._price += self._change
        self.steps += 1
        self._left -= 1
        reward = 100.0 * (position * self._change - COST * traded)
        info = {"executed_action": executed, "forced": forced}
        return self._observed(), reward, self._left == 0, info

    def _observed(self) -> np.ndarray:
        seen = (self._price / VOLATILITY, self._change / VOLATILITY, self._position)
        return np.array(seen, np.float32)


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(
        *(nn.Linear(inputs, HIDDEN), nn.ReLU()),
        *(nn.Linear(HIDDEN, HIDDEN), nn.ReLU()),
        nn.Linear(HIDDEN, outputs),
    )


class Agent:
    """Soft actor-critic with two critics and a learned temperature (Haarnoja et al. 2018)."""

    def __init__(self, seed: int, capacity: int) -> None:
        th.manual_seed(seed)
        self.actor = network(3, 2)
        self.critic1, self.critic2 = network(4, 1), network(4, 1)
        self.critic1_target = copy.deepcopy(self.critic1)
        self.critic2_target = copy.deepcopy(self.critic2)
        self.log_alpha = th.zeros(1, requires_grad=True)
        critics = [*self.critic1.parameters(), *self.critic2.parameters()]
        self.actor_optimizer = th.optim.Adam(self.actor.parameters(), lr=LEARNING_RATE)
        self.critic_optimizer = th.optim.Adam(critics, lr=LEARNING_RATE)
        self.alpha_optimizer = th.optim.Adam([self.log_alpha], lr=LEARNING_RATE)
        self._random = np.random.default_rng(seed)
        widths = (3, 1, 1, 3)  # state, action, reward, state after it
        self._buffer = [np.zeros((capacity, width), np.float32) for width in widths]
        self._stored = 0

    def act(self, state: np.ndarray) -> np.ndarray:
        """Sample an action, shape `(1,)`."""
        with th.no_grad():
            return self._sample(th.from_numpy(state))[0].numpy()

    def best(self, states: np.ndarray) -> np.ndarray:
        """Return the actions without exploration, shape `(count, 1)`."""
        with th.no_grad():
            return self.actor(th.from_numpy(states))[:, :1].tanh().numpy()

    def store(self, *transition: Any) -> None:
        """Keep a state, an action, a reward and the state after it."""
        for array, value in zip(self._buffer, transition, strict=True):
            array[self._stored] = value
        self._stored += 1

    def update(self) -> None:
        """Learn from one batch."""
        rows = self._random.integers(0, self._stored, BATCH)
        states, actions, rewards, after = (th.from_numpy(array[rows]) for array in self._buffer)
        alpha = self.log_alpha.exp().detach()
        with th.no_grad():
            following, density = self._sample(after)
            seen = th.cat([after, following], 1)
            value = th.min(self.critic1_target(seen), self.critic2_target(seen))
            wanted = rewards + GAMMA * (value - alpha * density)
        seen = th.cat([states, actions], 1)
        errors = [critic(seen) - wanted for critic in (self.critic1, self.critic2)]
        self._step(self.critic_optimizer, sum(error.square().mean() for error in errors))
        own, density = self._sample(states)
        seen = th.cat([states, own], 1)
        value = th.min(self.critic1(seen), self.critic2(seen))
        self._step(self.actor_optimizer, (alpha * density - value).mean())
        surplus = (density.detach() - 1.0).mean()  # the entropy wanted is -1, for one action
        self._step(self.alpha_optimizer, -(self.log_alpha * surplus).sum())
        with th.no_grad():
            for critic, target in (
                (self.critic1, self.critic1_target),
                (self.critic2, self.critic2_target),
            ):
                for ours, theirs in zip(critic.parameters(), target.parameters(), strict=True):
                    theirs.lerp_(ours, TAU)

    def _sample(self, states: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        mean, log_std = self.actor(states).chunk(2, -1)
        normal = th.distributions.Normal(mean, log_std.clamp(-20.0, 2.0).exp())
        raw = normal.rsample()
        squashed = 2.0 * (np.log(2.0) - raw - nn.functional.softplus(-2.0 * raw))
        return raw.tanh(), normal.log_prob(raw) - squashed

    @staticmethod
    def _step(optimizer: th.optim.Optimizer, loss: Any) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def train(
    warmup: int,
    steps: int,
    seed: int,
    *,
    gated: bool = True,
    executed: bool = True,
    verbose: int = 1,
) -> tuple[Agent, TrainingMonitor]:
    """Train an agent for `warmup` forced steps and `steps` of its own."""
    market, agent = Market(warmup, seed), Agent(seed, warmup + steps)
    gate = WarmupGate(warmup if gated else BATCH)
    monitor = TrainingMonitor(
        modules={
            "actor": agent.actor,
            "critic1": agent.critic1,
            "critic2": agent.critic2,
            "critic1_target": agent.critic1_target,
            "critic2_target": agent.critic2_target,
        },
        optimizers={
            "actor": agent.actor_optimizer,
            "critic": agent.critic_optimizer,
            "alpha": agent.alpha_optimizer,
        },
        verbose=verbose,
    )
    state, total = market.reset(), 0.0
    with monitor:
        for step in range(1, warmup + steps + 1):
            action = agent.act(state)
            after, reward, done, info = market.step(action)
            agent.store(state, executed_action(info, action) if executed else action, reward, after)
            if gate.may_update(step):
                agent.update()
            monitor.step(step)
            state, total = after, total + reward
            if done:
                monitor.episode(total, forced=info["forced"])
                state, total = market.reset(), 0.0
    return agent, monitor


def evaluated(agent: Agent, episodes: int = 32) -> float:
    """Return the mean return without exploration, on the same episodes for every agent."""
    total = 0.0
    for seed in range(episodes):
        market = Market(0, 1_000_000 + seed)
        state, done = market.reset(), False
        while not done:
            state, reward, done, _ = market.step(agent.best(state[None])[0])
            total += reward
    return total / episodes


WAYS = {
    "updates from the start, sampled actions stored": {"gated": False, "executed": False},
    "updates from the start, executed actions stored": {"gated": False, "executed": True},
    "gate, sampled actions stored": {"gated": True, "executed": False},
    "gate, executed actions stored": {"gated": True, "executed": True},
}


def compare(warmup: int, steps: int, seeds: int) -> None:
    """Print what each way through the warm-up earns, over seeds."""
    print(f"return of an episode, {steps:,} steps after a warm-up of {warmup:,}; seeds: {seeds}")
    print(f"{'':50}{'mean':>8}{'worst':>8}{'best':>8}{'temperature':>14}")
    for name, way in WAYS.items():
        agents = [train(warmup, steps, seed, verbose=0, **way)[0] for seed in range(seeds)]
        returns = [evaluated(agent) for agent in agents]
        alpha = float(np.median([agent.log_alpha.exp().item() for agent in agents]))
        figures = (sum(returns) / seeds, min(returns), max(returns))
        print(f"{name:50}" + "".join(f"{figure:8.2f}" for figure in figures) + f"{alpha:14.1e}")


def main() -> None:
    """Train one agent, or compare the ways."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--warmup", type=int, default=5_000)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--compare", action="store_true")
    options = parser.parse_args()
    if options.compare:
        logging.disable()  # some of these agents are meant to fail
        compare(options.warmup, options.steps, options.seeds)
        return
    agent, _ = train(options.warmup, options.steps, seed=0)
    print(f"return of an episode: {evaluated(agent):.2f}")


if __name__ == "__main__":
    th.set_num_threads(1)
    main()
