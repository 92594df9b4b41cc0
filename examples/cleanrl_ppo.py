"""PPO in one file, in the style of CleanRL, with a monitor beside it: torch and gymnasium, no SB3.

Four lines are the monitor's; all else is as in CleanRL's ppo.py. Its figures go to TensorBoard
where a folder is given, what it finds to Python's `logging`.

    python examples/cleanrl_ppo.py [--total-timesteps 50000] [--tensorboard runs]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn
from torch.distributions import Categorical

from sacdoctor.training import TrainingMonitor


@dataclass(frozen=True)
class Args:
    """CleanRL's settings for CartPole."""

    total_timesteps: int = 50_000
    tensorboard: str | None = None
    seed: int = 1
    learning_rate: float = 2.5e-4
    num_envs: int = 4
    num_steps: int = 128
    num_minibatches: int = 4
    update_epochs: int = 4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_coef: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5


def layer(inputs: int, outputs: int, std: float = 2.0**0.5) -> nn.Linear:
    """Return a layer with orthogonal weights and biases of 0."""
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, std)
    nn.init.constant_(made.bias, 0.0)
    return made


class Agent(nn.Module):
    """A critic and an actor without a layer in common."""

    def __init__(self, envs: gym.vector.VectorEnv) -> None:
        super().__init__()
        seen = int(np.prod(envs.single_observation_space.shape))
        self.critic = nn.Sequential(
            *(layer(seen, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 1, std=1.0))
        )
        self.actor = nn.Sequential(
            *(layer(seen, 64), nn.Tanh(), layer(64, 64), nn.Tanh()),
            layer(64, envs.single_action_space.n, std=0.01),
        )

    def judge(self, seen: th.Tensor, actions: th.Tensor | None = None) -> tuple[th.Tensor, ...]:
        """Return actions, their log-probabilities, the entropies and the values."""
        policy = Categorical(logits=self.actor(seen))
        actions = policy.sample() if actions is None else actions
        values = self.critic(seen).squeeze(-1)
        return actions, policy.log_prob(actions), policy.entropy(), values


def advantages(
    rewards: th.Tensor, values: th.Tensor, dones: th.Tensor, last: th.Tensor, args: Args
) -> th.Tensor:
    """Return generalised advantage estimates, shape `(num_steps, num_envs)`."""
    found, behind = th.zeros_like(rewards), th.zeros_like(last)
    for step in reversed(range(len(rewards))):
        follows = last if step == len(rewards) - 1 else values[step + 1]
        goes_on = 1.0 - dones[step]
        delta = rewards[step] + args.gamma * follows * goes_on - values[step]
        behind = delta + args.gamma * args.gae_lambda * goes_on * behind
        found[step] = behind
    return found


def learn(agent: Agent, optimizer: th.optim.Optimizer, batch: list[th.Tensor], args: Args) -> None:
    """Update the agent with the rollout's observations, actions and what was worked out of them."""
    seen, actions, logprobs, advantage, returns = batch
    size = len(seen) // args.num_minibatches
    for _ in range(args.update_epochs):
        for rows in th.randperm(len(seen)).split(size):
            _, now, entropy, values = agent.judge(seen[rows], actions[rows])
            ratio = (now - logprobs[rows]).exp()
            gain = advantage[rows]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
            loss = -th.min(gain * ratio, gain * clipped).mean()
            loss = loss - args.ent_coef * entropy.mean()
            loss = loss + args.vf_coef * 0.5 * (values - returns[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()


def train(args: Args) -> TrainingMonitor:
    """Train an agent on CartPole and return what looked after it."""
    th.manual_seed(args.seed)
    envs = SyncVectorEnv(
        [lambda: gym.make("CartPole-v1")] * args.num_envs, autoreset_mode=AutoresetMode.SAME_STEP
    )
    agent = Agent(envs)
    optimizer = th.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    monitor = TrainingMonitor({"agent": agent}, {"optimizer": optimizer}, writer(args))

    shape = (args.num_steps, args.num_envs)
    observations = th.zeros((*shape, *envs.single_observation_space.shape))
    actions, logprobs, rewards, dones, values = (th.zeros(shape) for _ in range(5))
    now = th.as_tensor(envs.reset(seed=args.seed)[0])
    returns = np.zeros(args.num_envs)
    global_step = 0
    with monitor:
        while global_step < args.total_timesteps:
            for step in range(args.num_steps):
                global_step += args.num_envs
                with th.no_grad():
                    chosen, logprob, _, value = agent.judge(now)
                observations[step], actions[step] = now, chosen
                logprobs[step], values[step] = logprob, value
                after, reward, terminated, truncated, _ = envs.step(chosen.numpy())
                done = terminated | truncated
                now, rewards[step] = th.as_tensor(after), th.as_tensor(reward)
                dones[step] = th.as_tensor(done)
                returns += reward
                for env in np.flatnonzero(done):
                    monitor.episode(returns[env])
                    returns[env] = 0.0
                monitor.step(global_step)
            with th.no_grad():
                last = agent.critic(now).squeeze(-1)
            gain = advantages(rewards, values, dones, last, args)
            rollout = (observations, actions, logprobs, gain, gain + values)
            learn(agent, optimizer, [part.flatten(0, 1) for part in rollout], args)
    envs.close()
    return monitor


def writer(args: Args) -> object | None:
    """Return TensorBoard's writer, where a folder is given."""
    if args.tensorboard is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(args.tensorboard)


def main() -> None:
    """Train with the settings of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--total-timesteps", type=int, default=Args.total_timesteps)
    parser.add_argument("--tensorboard", metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=Args.seed)
    options = parser.parse_args()
    monitor = train(Args(options.total_timesteps, options.tensorboard, options.seed))
    recent = monitor.returns[-20:]
    print(f"mean return of the last {len(recent)} episodes: {sum(recent) / len(recent):.1f}")


if __name__ == "__main__":
    th.set_num_threads(1)
    main()
