"""One budget for all pickles of a file: what draws on it, and that honest files stay within."""

from __future__ import annotations

import base64
import json
import pickle
import pickletools
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from stable_baselines3 import HerReplayBuffer

from sacdoctor.archive.reading import Archive, Budget
from sacdoctor.checkpoint import Checkpoint, Limits
from sacdoctor.checkpoint.hyperparameters import read_hyperparameters
from sacdoctor.checkpoint.rate_edit import with_rate
from sacdoctor.checkpoint.schedules import constant_of
from sacdoctor.checkpoint.torch_file import read_torch_archive
from sacdoctor.errors import CorruptCheckpoint, SacdoctorError
from sacdoctor.pickles import Symbols, WalkBudget, read_pickle, read_placed_pickle
from sacdoctor.replay import read_replay_buffer
from sacdoctor.trust.references import Kind, references, torch_references
from tests.archives import members_of, saved, sb3_members, torch_zip, zip_of
from tests.payloads import Calls
from tests.pickles.test_machine import PLAIN

MANY = WalkBudget(10**9, 10**12)


def fresh() -> WalkBudget:
    return WalkBudget(MANY.operations, MANY.memory)


def opcodes(data: bytes) -> int:
    """How many opcodes a pickle has, as Python counts them."""
    return sum(1 for _ in pickletools.genops(data))


def taken(budget: WalkBudget) -> int:
    return MANY.operations - budget.operations


# -- what is counted ---------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(value=PLAIN)
def test_every_opcode_counts_once(value: Any) -> None:
    for protocol in range(6):
        data = pickle.dumps(value, protocol)
        for read in (
            lambda data, budget: read_pickle(data, Symbols(), budget),
            lambda data, budget: read_placed_pickle(memoryview(data), Symbols(), (), budget),
        ):
            budget = fresh()
            read(data, budget)
            assert taken(budget) == opcodes(data)


@pytest.mark.parametrize("count", [3, 4095, 4097, 20_001])
def test_a_budget_suffices_for_so_many_opcodes_and_no_more(count: int) -> None:
    data = b"N0" * (count // 2 - 1) + b"NN."
    assert opcodes(data) == count
    budget = WalkBudget(operations=count)
    assert read_pickle(data, Symbols(), budget) is None
    assert budget.operations == 0
    with pytest.raises(CorruptCheckpoint, match="more operations"):
        read_pickle(data, Symbols(), WalkBudget(operations=count - 1))


def test_a_pickle_that_was_refused_has_taken_what_it_could() -> None:
    """Else a file could hold any number of them."""
    budget = WalkBudget(operations=10_000)
    for _ in range(3):
        with pytest.raises(SacdoctorError):
            read_pickle(b"N" * 4000, Symbols(), budget)
    assert budget.operations == 0


def size(number: int) -> bytes:
    return number.to_bytes(4, "little")


BOMBS: dict[str, Callable[[int], bytes]] = {
    "lists": lambda n: b"]" * n,
    "dicts": lambda n: b"}" * n,
    "tuples": lambda n: b"N" + b"\x85" * n,
    "kept": lambda n: b"N" + b"\x94" * n,
    "kept-lists": lambda n: b"]\x94" * n,
    "numbers": lambda n: b"".join(b"J" + size(1000 + i) for i in range(n)),
    "floats": lambda n: b"G@\xfe\xf0\0\0\0\0\1" * n,
    "copies": lambda n: b"]" + b"2" * n,
    "texts": lambda n: b"\x8c\x04\xf0\x9f\x98\x80" * n,
    "long-text": lambda n: b"X" + size(20 * n + 4) + b"a" * 20 * n + b"\xf0\x9f\x98\x80",
    "bytes": lambda n: (b"C\x20" + b"a" * 32) * n,
    "names": lambda n: b"".join(b"ca%d\nb\n" % i for i in range(n)),
    "calls": lambda n: b"cm\nf\nq\0" + b"h\0)R" * n,
    "small-dicts": lambda n: b"}NNs" * n,
    "keys": lambda n: b"}(" + b"".join(b"J" + size(1000 + i) + b"N" for i in range(n)) + b"u",
    "odd-keys": lambda n: b"}(" + b"]N" * n + b"u",
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("placed", [False, True], ids=["plain", "placed"])
def test_the_price_list_covers_what_python_allocates(kind: str, placed: bool) -> None:
    """To within a half: lists and dicts grow in steps, and hold old and new while they do."""
    data, budget = memoryview(BOMBS[kind](20_000) + b"."), fresh()
    tracemalloc.start()
    try:
        if placed:
            read_placed_pickle(data, Symbols(), (), budget)
        else:
            read_pickle(data, Symbols(), budget)
        allocated = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert allocated < 1.5 * (MANY.memory - budget.memory)


def test_what_is_passed_to_calls_again_and_again_counts_again_and_again() -> None:
    data = b"cm\nf\nq\0(" + b"N" * 1000 + b"lq\1" + b"h\0h\1\x85R0" * 100_000 + b"N."
    with pytest.raises(CorruptCheckpoint, match="more memory"):
        read_pickle(data, Symbols())


# -- who draws on it ---------------------------------------------------------------------------

OPTIMIZER = {"state": {}, "param_groups": [{"lr": 0.5, "params": [0]}]}


def data_pickle(torch_file: bytes) -> bytes:
    members = members_of(torch_file)
    return members[next(name for name in members if name.endswith("data.pkl"))]


def setting(value: Any) -> bytes:
    encoded = base64.b64encode(cloudpickle.dumps(value)).decode()
    return json.dumps({"policy_class": {":type:": "type", ":serialized:": encoded}}).encode()


WALKS: dict[str, Callable[[WalkBudget], Any]] = {
    "a pickle": lambda budget: read_pickle(b"N.", Symbols(), budget),
    "with places": lambda budget: read_placed_pickle(memoryview(b"N."), Symbols(), (), budget),
    "a torch file": lambda budget: read_torch_archive(
        Archive(memoryview(saved(OPTIMIZER)), position=None, budget=Budget.of(0)), budget
    ),
    "an edited rate": lambda budget: with_rate(data_pickle(saved(OPTIMIZER)), 0.1, budget),
}
QUIET: dict[str, Callable[[WalkBudget], Any]] = {
    "a class in `data`": lambda budget: read_hyperparameters(
        memoryview(setting(HerReplayBuffer)), budget
    ).class_name("policy_class"),
    "a schedule": lambda budget: constant_of(cloudpickle.dumps(lambda _: 0.5), budget),
}
"""Those that take what cannot be read for unknown."""


@pytest.mark.parametrize("walk", [*WALKS, *QUIET])
def test_every_walk_draws_on_the_budget_that_it_is_given(walk: str) -> None:
    budget = WalkBudget()
    whole = budget.operations
    (WALKS | QUIET)[walk](budget)
    assert budget.operations < whole


@pytest.mark.parametrize("walk", WALKS)
def test_no_walk_begins_on_a_budget_that_is_spent(walk: str) -> None:
    with pytest.raises(CorruptCheckpoint, match="more operations"):
        WALKS[walk](WalkBudget(operations=0))


@pytest.mark.parametrize("walk", QUIET)
def test_what_cannot_be_read_for_lack_of_budget_is_unknown(walk: str) -> None:
    assert QUIET[walk](WalkBudget(operations=0)) is None


@pytest.mark.parametrize("walk", [references, torch_references])
def test_references_behind_a_spent_budget_are_not_known(walk: Any) -> None:
    found = walk(memoryview(b"N."), Limits(WalkBudget(operations=0), Budget.of(0)))
    assert [reference.kind for reference in found] == [Kind.UNREAD]


def test_a_pickle_inside_a_pickle_draws_on_the_same() -> None:
    inner = pickle.dumps([1, 2, 3])
    outer = pickle.dumps(Calls(pickle.loads, inner))
    budget = fresh()
    references(memoryview(outer), Limits(budget, Budget.of(0)))
    assert taken(budget) == opcodes(inner) + opcodes(outer)


def test_a_pickle_that_is_named_again_and_again_is_not_walked_for_ever() -> None:
    inner = b"\x8e" + (10**6).to_bytes(8, "little") + bytes(10**6)
    data = b"\x80\x04cpickle\nloads\nq\0" + inner + b"\x85q\1" + b"h\0h\1R0" * 200_000 + b"N."
    (*_, last) = references(memoryview(data))
    assert last.kind is Kind.UNREAD


def test_all_members_of_a_checkpoint_draw_on_the_same(tmp_path: Path) -> None:
    weights = {"a.weight": th.ones(2, 2), "a.bias": th.ones(2)}
    members = sb3_members(weights) | {
        "policy.optimizer.pth": saved(OPTIMIZER),
        "pytorch_variables.pth": saved({"log_ent_coef": th.ones(1)}),
        "data": setting(HerReplayBuffer),
    }
    path = tmp_path / "model.zip"
    path.write_bytes(zip_of(members))
    with Checkpoint(path) as checkpoint:
        whole = checkpoint.limits.walks.operations
        assert checkpoint.tensors
        assert checkpoint.optimizers
        assert checkpoint.variables
        assert checkpoint.policy_class
        spent = whole - checkpoint.limits.walks.operations
    pickles = [data_pickle(members[name]) for name in members if name.endswith(".pth")]
    assert spent == sum(map(opcodes, [*pickles, cloudpickle.dumps(HerReplayBuffer)]))


def test_members_that_are_small_each_are_refused_together(tmp_path: Path) -> None:
    bomb = torch_zip(b"\x80\x02" + b"N0" * 90_000 + pickle.dumps(OPTIMIZER, 2)[2:])
    members = sb3_members({"a.bias": th.ones(2)})
    members |= {f"x{n}.optimizer.pth": bomb for n in range(10)}
    path = tmp_path / "model.zip"
    path.write_bytes(zip_of(members))
    with (
        Checkpoint(path) as checkpoint,
        pytest.raises(CorruptCheckpoint, match=r"x\d\.optimizer\.pth: .* more operations"),
    ):
        checkpoint.optimizers  # noqa: B018


# -- honest files stay within ------------------------------------------------------------------


def with_adam(count: int, shape: tuple[int, ...]) -> bytes:
    """A checkpoint of so many tensors, all with Adam's moments."""
    parameters = [th.nn.Parameter(th.ones(shape)) for _ in range(count)]
    optimizer = th.optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = th.ones(shape)
    optimizer.step()
    state = {f"features_extractor.layer_{n}.weight": p.detach() for n, p in enumerate(parameters)}
    return zip_of(sb3_members(state) | {"policy.optimizer.pth": saved(optimizer.state_dict())})


@pytest.mark.parametrize(
    ("count", "shape"),
    [(3000, (2,)), pytest.param(10_000, (16, 16), marks=pytest.mark.slow)],
)
def test_a_policy_of_thousands_of_tensors_in_adam_is_read(
    tmp_path: Path, count: int, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(with_adam(count, shape))
    with Checkpoint(path) as checkpoint:
        assert len(checkpoint.tensors) == count
        (optimizer,) = checkpoint.optimizers.values()
        assert len(optimizer.entries) == count


def her(observation: int, dtype: Any, info: Callable[[int], dict[str, Any]]) -> bytes:
    """A HER buffer with an info for each transition, as `copy_info_dict` keeps them."""

    def box(size: int) -> spaces.Box:
        return spaces.Box(-1, 1, (size,), dtype)

    rows = 3000
    space = spaces.Dict(observation=box(observation), achieved_goal=box(3), desired_goal=box(3))
    buffer = HerReplayBuffer(
        rows,
        space,
        box(4),
        env=None,
        device="cpu",
        copy_info_dict=True,  # type: ignore[arg-type]
    )
    row = {key: np.zeros((1, *part.shape), part.dtype) for key, part in space.spaces.items()}
    for number in range(rows):
        last = np.array([number % 50 == 49])
        buffer.add(row, row, np.zeros((1, 4)), np.zeros(1), last, [info(number)])
    return pickle.dumps(buffer, 5)


@pytest.mark.parametrize(
    ("observation", "dtype", "success"),
    [(6, np.float32, bool), (10, np.float64, np.float32)],
    ids=["PandaReach", "FetchReach"],
)
def test_her_infos_take_less_than_a_buffer_of_any_size_is_allowed(
    tmp_path: Path, observation: int, dtype: Any, success: Any
) -> None:
    """What a megabyte of it takes, against what a large file is allowed for each megabyte."""
    data = her(observation, dtype, lambda n: {"is_success": success(n % 2)})
    path = tmp_path / "buffer.pkl"
    path.write_bytes(data)
    assert read_replay_buffer(path).capacity == 3000
    gib = WalkBudget.of_buffer(1024**3)
    budget = fresh()
    read_placed_pickle(memoryview(data), Symbols(), ("pos", "full"), budget)
    share = len(data) / 1024**3
    assert taken(budget) < gib.operations * share
    assert MANY.memory - budget.memory < gib.memory * share
