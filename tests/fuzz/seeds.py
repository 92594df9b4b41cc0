"""Small sound files that the mutants are made from, by target; needs torch."""

from __future__ import annotations

import base64
import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import torch as th
from safetensors.torch import save

from fixtures.make import CHECKPOINTS
from tests.archives import DEFLATED, members_of, saved, sb3_members, zip_of
from tests.own_buffers import Dicts, Named, Ring, filled, transitions

YAML = b"""# rl-zoo
Pendulum-v1: &one
  policy: 'MlpPolicy'
  n_timesteps: !!float 1e6
  learning_rate: lin_7.3e-3
  max_grad_norm: null
  policy_kwargs: "dict(log_std_init=-3, net_arch=[400, 300])"
Other-v0:
  <<: *one
  learning_rate: 5e-3   # too high
"""
TOML = b"""[agent]
algorithm = "SAC"
learning_rate = 5e-3  # too high
max_grad_norm = 100.0
net = { arch = [400, 300], rate = "lin_3e-2" }
[[runs]]
learning_rate = 1e-2
"""
JSON = b"""{"algorithm": "PPO", "learning_rate": 0.05, "max_grad_norm": 50,
 "runs": [{"learning_rate": "lin_1e-2", "learning_starts": 100, "no_trading_warmup_steps": 3}]}
"""


def _network() -> th.nn.Module:
    network = th.nn.ModuleDict(
        {
            "actor": th.nn.Sequential(th.nn.Linear(3, 4), th.nn.LayerNorm(4), th.nn.Linear(4, 1)),
            "critic": th.nn.GRU(3, 2),
            "critic_target": th.nn.GRU(3, 2),
        }
    )
    th.nn.init.zeros_(network["actor"][0].bias)
    th.nn.init.zeros_(network["critic"].bias_ih_l0)
    return network


def _optimizers(network: th.nn.Module) -> dict[str, Any]:
    states = {}
    for part, kind in (("actor", th.optim.Adam), ("critic", th.optim.RMSprop)):
        parameters = list(network[part].parameters())
        optimizer = kind(parameters, lr=1e-3)
        sum((p * p).sum() for p in parameters).backward()
        optimizer.step()
        states[f"{part}.optimizer"] = optimizer.state_dict()
    th.nn.init.zeros_(network["actor"][0].bias)
    return states


def seeds() -> dict[str, list[bytes]]:
    """Return the inputs of each target."""
    th.manual_seed(0)
    network = _network()
    optimizers = _optimizers(network)
    rate = pickle.dumps(th.optim.Adam, 4)
    settings = {
        **{"learning_rate": 0.005, "max_grad_norm": 0.5, "num_timesteps": 1000, "n_updates": 9},
        **{"_n_updates": 900, "learning_starts": 100, "target_entropy": -1.0, "tau": 0.005},
        "policy_class": {":type:": "type", ":serialized:": base64.b64encode(rate).decode()},
        "lr_schedule": {":type:": "function", ":serialized:": "gASVAgAAAAAAAABOLg==", "a": [1]},
    }
    policy = network.state_dict()
    members = sb3_members(policy, settings, optimizers)
    members["pytorch_variables.pth"] = saved({"log_ent_coef": th.zeros(1)})
    odd = {
        "a.bias": th.zeros(4, dtype=th.bfloat16),
        "b.weight": th.zeros(2, 3, dtype=th.float16).t(),
        "c": th.nn.Parameter(th.zeros(2)),
        "d": th.zeros(1).expand(5),
        "e.bias": th.zeros(3, dtype=th.complex64),
        "f.weight": th.zeros(2, dtype=th.float8_e5m2),
        "g": th.zeros(3, dtype=th.uint16),
    }
    checkpoints = [
        zip_of(members),
        zip_of(members, DEFLATED),
        zip_of(sb3_members(odd, settings, {"policy.optimizer": optimizers["actor.optimizer"]})),
        saved({"state_dict": policy}),
    ]
    small = members_of(CHECKPOINTS.joinpath("sac_two_head.zip").read_bytes())
    torch_files = [saved(policy), saved(odd), *map(saved, optimizers.values())]
    pickles = [_inner_pickle(data) for data in torch_files]
    plain = {"a": [1, 2.5, "x", b"y", None, True, (1, 2), {3}], "b": {"c": 10**30}}
    return {
        "archive": [*checkpoints, *torch_files, zip_of({"a": b"x"}, zip64=True)],
        "listed": pickles,
        "symbols": [*pickles, *(pickle.dumps(plain, n) for n in range(6)), *_class_pickles(small)],
        "data": [json.dumps(settings, indent=4).encode(), small["data"]],
        "optimizer": list(map(saved, optimizers.values())),
        "scan": checkpoints,
        "fix": checkpoints,
        "diff": checkpoints,
        "config": [YAML, TOML, JSON],
        "legacy": [saved(policy, legacy=True), saved(optimizers, legacy=True)],
        "safetensors": [save(policy), save({"a": th.ones(1, 2), "e": th.zeros(0)}, {"k": "v"})],
        "replay_buffer": _replay_buffers(),
    }


def _inner_pickle(data: bytes) -> bytes:
    return next(d for name, d in members_of(data).items() if name.endswith("data.pkl"))


def _class_pickles(members: dict[str, bytes]) -> list[bytes]:
    values = json.loads(members["data"]).values()
    encoded = [v[":serialized:"] for v in values if isinstance(v, dict) and ":serialized:" in v]
    return [base64.b64decode(text) for text in encoded]


def _replay_buffers() -> list[bytes]:
    import gymnasium as gym
    import numpy as np
    from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

    box = gym.spaces.Box(-1.0, 1.0, (2,))
    one = ReplayBuffer(8, box, box, device="cpu")
    several = DictReplayBuffer(8, gym.spaces.Dict(a=box, b=box), box, device="cpu")
    rows = np.full((1, 2), 0.5, np.float32)
    end = np.ones(1)
    for _ in range(6):
        one.add(rows, rows, rows, end, end, [{}])
        several.add({"a": rows, "b": rows}, {"a": rows, "b": rows}, rows, end, end, [{}])
    arrays = transitions(24, 6)
    own = [filled(kind, arrays, 32) for kind in (Ring, Named, Dicts)]
    saved = io.BytesIO(), io.BytesIO()
    np.savez(saved[0], **arrays)
    np.savez_compressed(saved[1], **vars(own[0]))
    buffers = (one, several, *own)
    pickles = [pickle.dumps(buffer, protocol) for buffer in buffers for protocol in (4, 5)]
    return [*pickles, *(file.getvalue() for file in saved)]


def main() -> None:
    """Write the seeds of each target into a folder of its own below the one that is given."""
    for target, inputs in seeds().items():
        folder = Path(sys.argv[1], target)
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (folder / f"seed{number}").write_bytes(data)


if __name__ == "__main__":
    main()
