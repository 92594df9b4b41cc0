"""Settings and code that SB3 itself calls while it loads a model, or a buffer, or statistics.

A pickle need not call anything: classes and schedules that stand in `data` are called by SB3, and
what stands there under the name of a method takes its place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np

from tests.payloads.assembly import (
    NONE,
    POP,
    aside,
    build,
    call,
    data,
    dict_,
    kept,
    list_,
    name,
    new,
    number,
    pairs,
    program_of,
    text,
    tuple_,
)
from tests.payloads.calls import Marks
from tests.payloads.crashes import an_array_in_itself, at_an_address, numpy_text
from tests.payloads.hiding import (
    CLOUD,
    LOAD,
    NAMESPACE,
    PARTIAL,
    absorbing,
    torch_file,
    waiting,
)

Settings = Callable[[Marks], dict[str, bytes]]
"""A program for each key of `data`."""


def touches(path: str, *args: Any, **kwargs: Any) -> None:
    """A function of a user's own, whatever it is called with."""
    Path(path).touch()


class OwnBuffer:
    """A class of a user's own, which SB3 makes an object of."""

    def __init__(self, *args: Any, mark: str, **kwargs: Any) -> None:
        touches(mark)


def own(mark: Marks) -> bytes:
    return call(name("functools", "partial"), name(__name__, "touches"), text(mark.path))


def in_policy(key: str, function: Callable[[Marks], bytes]) -> Settings:
    return lambda mark: {"policy_kwargs": dict_(**{key: function(mark)})}


def under(key: str, function: Callable[[Marks], bytes]) -> Settings:
    return lambda mark: {key: function(mark)}


def schedule(make: Callable[[Marks], Any]) -> Settings:
    """A function whose code cloudpickle writes."""
    return lambda mark: {"learning_rate": program_of(cloudpickle.dumps(make(mark), 3))}


# -- code ------------------------------------------------------------------------------------------


def plain(mark: Marks) -> Any:
    path = mark.path
    return lambda p: open(path, "w").close()  # noqa: PTH123


def by_import(mark: Marks) -> Any:
    shell = mark.shell

    def schedule(progress: float) -> float:
        import os

        os.system(shell)
        return progress

    return schedule


def by_match(mark: Marks) -> Any:
    """Names of attributes stand among the constants: the code uses no names at all."""
    shell = mark.shell

    def schedule(p: float, o: Any = object) -> float:
        match ():
            case o(__class__=made):
                match made:
                    case o(__base__=base):
                        match base:
                            case o(__subclasses__=each):
                                for one in each():
                                    match one:
                                        case o(__name__="_wrap_close", __init__=init):
                                            match init:
                                                case o(__globals__=scope):
                                                    scope["system"](shell)
        return p

    return schedule


def by_self(mark: Marks) -> Any:
    code = mark.code
    return lambda p: max.__self__.__dict__["exec"](code)  # type: ignore[attr-defined]


def by_globals(mark: Marks) -> Any:
    code = mark.code
    return lambda p: globals()["__built" + "ins__"]["exec"](code)


def by_frame(mark: Marks) -> Any:
    code = mark.code
    return lambda p: (q for q in ()).gi_frame.f_builtins["exec"](code)


def by_type(mark: Marks) -> Any:
    shell = mark.shell

    def schedule(p: float) -> float:
        for one in type.__dict__["__subclasses__"](object):
            if one.__name__ == "_wrap_close":
                one.__init__.__globals__["system"](shell)
        return p

    return schedule


def inner(mark: Marks) -> Any:
    """The code that does it is a constant of one that does nothing."""
    path = mark.path

    def schedule(p: float) -> float:
        def inside() -> None:
            open(path, "w").close()  # noqa: PTH123

        inside()
        return p

    return schedule


def harmless_name(mark: Marks) -> bytes:
    """`max(x)`, where `max` is another function."""
    import types

    code = mark.code

    def schedule(p: float) -> Any:
        return max(code)

    mine = types.FunctionType(schedule.__code__, {"max": exec}, "f", (), schedule.__closure__)
    return program_of(cloudpickle.dumps(mine, 3))


def hostile_cell(mark: Marks) -> bytes:
    """SB3's own code, compares with an object whose class says what that is."""
    import stable_baselines3.common.utils as sb3
    import torch

    from tests.payloads.hiding import torch_file

    rebuild = torch._tensor._rebuild_from_type_v2
    load = torch.storage._load_from_bytes
    absorb = functools.partial(rebuild, load, str, (torch_file(mark),))
    hostile = type("X", (), {"__lt__": absorb})
    return program_of(cloudpickle.dumps(sb3.get_linear_fn(1.0, 0.0, hostile()), 3))  # type: ignore[arg-type]


# -- what is given away before it is read ----------------------------------------------------------


def calling(values: bytes, first: int = 0) -> bytes:
    """A function that only computes: it calls an item of a list in its closure with the next."""
    given: Any = None

    def schedule(p: float) -> Any:
        return given[0](given[1])

    def behind_a_module(p: float) -> Any:
        return given[1](given[2])

    function = behind_a_module if first else schedule
    code = program_of(cloudpickle.dumps(function.__code__, 3))
    cell = call(name(CLOUD, "_make_cell"), values)
    scope = dict_(__name__=text("x"))
    return call(name(CLOUD, "_make_function"), code, scope, text("f"), NONE, tuple_(cell))


def computing() -> bytes:
    return program_of(cloudpickle.dumps(lambda p: p, 3))


def given_away(to: Callable[[bytes], bytes]) -> Callable[[Marks], bytes]:
    """What somebody took once, although it is a function, is not looked at again."""

    def program(mark: Marks) -> bytes:
        values = list_(LOAD, data(torch_file(mark)))
        return aside(values, 910) + to(kept(910)) + POP + calling(kept(910))

    return program


def beside_a_module(mark: Marks) -> bytes:
    """A list of modules, to which more is added when a function has it."""
    modules = aside(list_(call(name(CLOUD, "subimport"), text("math"))), 910)
    function = aside(calling(kept(910), first=1), 911)
    added = kept(910) + LOAD + b"a" + data(torch_file(mark)) + b"a" + POP
    return modules + function + added + kept(911)


def partial_of_code(mark: Marks) -> bytes:
    """A partial call of a function that only computes, that its state makes another."""
    rebuild = name("torch._tensor", "_rebuild_from_type_v2")
    args = tuple_(LOAD, name("builtins", "str"), tuple_(data(torch_file(mark))))
    return build(call(PARTIAL, computing()), tuple_(rebuild, args, dict_(), NONE))


# -- spaces ----------------------------------------------------------------------------------------


def space(key: str, value: bytes) -> Settings:
    """An action space that has another attribute; SB3 asks it for its shape, and draws from it."""

    def settings(mark: Marks) -> dict[str, bytes]:
        made = program_of(cloudpickle.dumps(gymnasium.spaces.Box(-1.0, 1.0, (1,)), 3))
        assert made.endswith(b"b")
        return {"action_space": made[:-1] + text(key) + value + b"sb"}

    return settings


def beyond_its_state(kind: str, position: int) -> bytes:
    """A generator that numpy believes to stand far outside of its own state."""
    generator = getattr(np.random, kind)(0)
    state = generator.state
    inner = state if "buffer_pos" in state else state["state"]
    inner["buffer_pos" if "buffer_pos" in state else "pos"] = position
    generator.state = state
    return program_of(cloudpickle.dumps(np.random.Generator(generator), 3))


BEYOND = number(900_000_000)


def generator(state: bytes, constructor: str = "__generator_ctor") -> Settings:
    """One of a kind whose position is `BEYOND`, written as numpy does not write it."""
    module = "numpy.random._pickle"
    made = call(name(module, "__bit_generator_ctor"), text("MT19937"))
    if constructor == "__generator_ctor":
        return space("_np_random", call(name(module, constructor), build(made, state)))
    return space("_np_random", build(call(name(module, constructor), made), state))


def _numbers() -> bytes:
    return program_of(cloudpickle.dumps(np.zeros(624, np.uint32), 3))


def _of_mersenne(state: bytes) -> bytes:
    return dict_(bit_generator=text("MT19937"), state=state)


CRASHING: dict[str, Settings] = {
    "bounds in an array in itself": space("bounded_below", an_array_in_itself()),
    "a position in an OrderedDict": generator(
        _of_mersenne(
            call(name("collections", "OrderedDict"))
            + pairs((text("key"), _numbers()), (text("pos"), BEYOND))[1:]
        )
    ),
    "a position under numpy's text": generator(
        _of_mersenne(pairs((text("key"), _numbers()), (numpy_text("pos"), BEYOND)))
    ),
    "a position behind numpy's text": generator(
        tuple_(numpy_text("MT19937"), _numbers(), BEYOND), "__randomstate_ctor"
    ),
    "a space whose shape is an address": space("_shape", at_an_address(NAMESPACE + b")R")),
    "a space whose shape is a noise at an address": space(
        "_shape",
        at_an_address(new(name("stable_baselines3.common.noise", "NormalActionNoise"))),
    ),
    "MT19937 beyond its state": space("_np_random", beyond_its_state("MT19937", 900_000_000)),
    "Philox beyond its state": space("_np_random", beyond_its_state("Philox", -900_000_000)),
}
"""Settings that end the process of who loads the model, and draws an action."""
CALLED: dict[str, Settings] = {
    **{
        f"own {key}": in_policy(key, own)
        for key in ("features_extractor_class", "activation_fn", "optimizer_class")
    },
    "extractor of harmless names": in_policy("features_extractor_class", absorbing),
    "activation of harmless names": in_policy("activation_fn", waiting),
    "own policy_class": under("policy_class", own),
    "own replay_buffer_class": lambda mark: {
        "replay_buffer_class": name(__name__, "OwnBuffer"),
        "replay_buffer_kwargs": dict_(mark=text(mark.path)),
    },
    "own learning_rate": under("learning_rate", own),
    "learning_rate of harmless names": under("learning_rate", absorbing),
    "FloatSchedule of harmless names": lambda mark: {
        "learning_rate": call(
            name("stable_baselines3.common.utils", "FloatSchedule"), absorbing(mark)
        )
    },
    "own _setup_model": under("_setup_model", own),
    "_setup_model of harmless names": under("_setup_model", waiting),
    "_setup_lr_schedule of harmless names": under("_setup_lr_schedule", waiting),
    "own set_parameters": under("set_parameters", own),
    "own _get_torch_save_params": under("_get_torch_save_params", own),
    "code": schedule(plain),
    "code that imports": schedule(by_import),
    "code without names": schedule(by_match),
    "code by __self__": schedule(by_self),
    "code by globals": schedule(by_globals),
    "code by a frame": schedule(by_frame),
    "code by type": schedule(by_type),
    "code in code": schedule(inner),
    "code with another max": under("learning_rate", harmless_name),
    "SB3's code with a hostile cell": under("learning_rate", hostile_cell),
    **{
        f"given to {kind} before": under(
            "learning_rate", given_away(lambda v, k=kind: call(name("builtins", k), v))
        )
        for kind in ("property", "classmethod", "staticmethod")
    },
    "given to a partial call before": under(
        "learning_rate", given_away(lambda v: call(PARTIAL, computing(), v))
    ),
    "beside a module in a list": under("learning_rate", beside_a_module),
    "partial call of code, changed": under("learning_rate", partial_of_code),
}
"""By what is called."""


def statistics(mark: Marks) -> dict[str, bytes]:
    """Attributes of a `VecNormalize` under the names of its methods: `load` calls `set_venv`."""
    return {"norm_obs_keys": NONE, "set_venv": absorbing(mark)}
