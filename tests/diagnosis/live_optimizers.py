"""Random modules, and optimizers over parts of them: which entry is whose, by identity."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch as th
from hypothesis import strategies as st
from torch import nn

from sacdoctor.diagnosis.optimizer_map import Candidate, Entry

OPTIMIZERS = {
    "Adam": lambda groups: th.optim.Adam(groups, lr=1e-2),
    "AMSGrad": lambda groups: th.optim.Adam(groups, lr=1e-2, amsgrad=True),
    "AdamW": lambda groups: th.optim.AdamW(groups, lr=1e-2),
    "RMSprop": lambda groups: th.optim.RMSprop(groups, lr=1e-2),
    "momentum": lambda groups: th.optim.SGD(groups, lr=1e-2, momentum=0.9),
    "SGD": lambda groups: th.optim.SGD(groups, lr=1e-2),
}


class Buffered(nn.Module):
    """Buffers of a parameter's shape on both sides of one, under names that tell nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", th.zeros(width))
        self.gain = nn.Parameter(th.randn(width))
        self.register_buffer("offset", th.ones(width))


class Own(nn.Module):
    """A layer written by hand, with parameters of its own and a layer below it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(th.randn(width, width))
        self.bias = nn.Parameter(th.randn(width))
        self.inner = nn.Linear(width, width)


_SIZES = st.sampled_from((2, 3, 4))
_LAYERS: st.SearchStrategy[nn.Module] = st.one_of(
    st.builds(nn.Linear, _SIZES, _SIZES),
    st.builds(nn.Linear, _SIZES, _SIZES),
    st.builds(nn.Linear, _SIZES, _SIZES, bias=st.just(False)),
    st.builds(nn.LayerNorm, _SIZES),
    st.builds(nn.BatchNorm1d, _SIZES),
    st.builds(
        nn.LSTM, _SIZES, _SIZES, num_layers=st.sampled_from((1, 2)), bidirectional=st.booleans()
    ),
    st.builds(nn.GRU, _SIZES, _SIZES),
    st.builds(Buffered, _SIZES),
    st.builds(Own, _SIZES),
)
_MODULES = st.one_of(
    _LAYERS,
    st.lists(_LAYERS, min_size=1, max_size=3).map(lambda layers: nn.Sequential(*layers)),
    # The same layer again: shapes alone do not tell them apart.
    st.builds(lambda size: nn.Sequential(*(nn.Linear(size, size) for _ in range(3))), _SIZES),
)


@dataclass(frozen=True)
class Live:
    """A module, an optimizer over a part of it, and the part's names in the entries' order."""

    module: nn.Module
    optimizer: th.optim.Optimizer
    order: tuple[str, ...]

    def has_moments(self, name: str) -> bool:
        return bool(self.optimizer.state.get(self.module.get_parameter(name)))

    def says_truly(self, name: str, number: int) -> bool:
        """Whether entry `number` is the tensor's; any of those without moments says as much."""
        if self.order[number] == name:
            return True
        both = name in self.order and not self.has_moments(name)
        return both and not self.has_moments(self.order[number])

    @property
    def candidates(self) -> list[Candidate]:
        """Every tensor of the state dict in its order; buffers belong to no layer."""
        parameters = dict(self.module.named_parameters())
        return [
            Candidate(name, tuple(tensor.shape), _layer(name) if name in parameters else None)
            for name, tensor in self.module.state_dict().items()
        ]

    @property
    def groups(self) -> list[list[Entry]]:
        groups, number = [], 0
        for group in self.optimizer.param_groups:
            entries = []
            for parameter in group["params"]:
                kept = self.optimizer.state.get(parameter)
                entries.append(Entry(number, tuple(parameter.shape) if kept else None))
                number += 1
            groups.append(entries)
        return groups


@st.composite
def live(draw: st.DrawFn, whole_layers: bool) -> Live:
    """A module some of whose layers (or single parameters) an optimizer knows, after two steps."""
    th.manual_seed(draw(st.integers(0, 2**16)))
    module = nn.ModuleDict(
        {
            f"part{n}": part
            for n, part in enumerate(draw(st.lists(_MODULES, min_size=1, max_size=5)))
        }
    )
    names = [name for name, _ in module.named_parameters()]
    units = list(dict.fromkeys(map(_layer, names))) if whole_layers else names
    chosen = set(draw(st.lists(st.sampled_from(units), min_size=1, unique=True)))
    order = [name for name in names if (_layer(name) if whole_layers else name) in chosen]
    groups = draw(_groupings(order))
    parameters = dict(module.named_parameters())
    build = OPTIMIZERS[draw(st.sampled_from(sorted(OPTIMIZERS)))]
    optimizer = build([{"params": [parameters[name] for name in group]} for group in groups])
    frozen = draw(st.sets(st.sampled_from(sorted(set(map(_layer, names))))))
    train(module, [name for name in names if _layer(name) not in frozen], optimizer)
    return Live(module, optimizer, tuple(name for group in groups for name in group))


def train(module: nn.Module, names: Iterable[str], optimizer: th.optim.Optimizer) -> None:
    """Two steps in which the parameters called `names` have a gradient, and no others."""
    for _ in range(2):
        for name in names:
            parameter = module.get_parameter(name)
            parameter.grad = th.randn_like(parameter)
        optimizer.step()


@st.composite
def _groupings(draw: st.DrawFn, order: Sequence[str]) -> list[list[str]]:
    """One group; biases apart; a group per module, shuffled; or parameters dealt out."""
    shuffle = random.Random(draw(st.integers(0, 2**16)))
    keys: Mapping[str, object] = draw(
        st.sampled_from(
            (
                dict.fromkeys(order, 0),
                {name: "bias" in name for name in order},
                {name: name.partition(".")[0] for name in order},
                {name: shuffle.randrange(3) for name in order},
            )
        )
    )
    groups = [[n for n in order if keys[n] == key] for key in dict.fromkeys(keys.values())]
    shuffle.shuffle(groups)
    return groups


def _layer(name: str) -> str:
    return name.rpartition(".")[0]
