"""Settings files: what must change in them, and that nothing else does."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.errors import SacdoctorError
from sacdoctor.settings.document import Language
from sacdoctor.settings.fix_config import fix_config, fix_text

YML = """\
# My run.
algorithm: SAC   # by hand

model:
    learning_rate:   5e-3     # fast!
    gamma: 0.99
    policy_kwargs: "dict(log_std_init=-3,
                         net_arch=[400, 300])"
    clip_grad_value: 0.5
train: {max_grad_norm: 10, lr: 'lin_5e-3'}
unknown: [1, 2,
          3]
"""


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    """Each line that differs, before and after; fails where lines came or went."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    assert len(old) == len(new), "".join(difflib.ndiff(old, new))
    return [(a, b) for a, b in zip(old, new, strict=True) if a != b]


def yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def fixed(text: str, language: Language = Language.YAML, algorithm: str | None = "SAC") -> str:
    return fix_text(text.encode(), language=language, algorithm=algorithm).text


def test_only_the_values_change_in_yaml() -> None:
    assert changed_lines(YML, fixed(YML, algorithm=None)) == [
        ("    learning_rate:   5e-3     # fast!\n", "    learning_rate:   1.0e-4     # fast!\n"),
        ("    clip_grad_value: 0.5\n", "    clip_grad_value: null\n"),
        (
            "train: {max_grad_norm: 10, lr: 'lin_5e-3'}\n",
            "train: {max_grad_norm: 1.0, lr: 'lin_1e-4'}\n",
        ),
    ]


def test_each_changed_line_says_what_it_was() -> None:
    noted = fix_text(YML.encode(), language=Language.YAML).noted
    assert "    learning_rate:   1.0e-4     # fast!  # was 5e-3\n" in noted
    assert "    clip_grad_value: null  # was 0.5\n" in noted
    assert "'lin_1e-4'}  # was 10  # was lin_5e-3\n" in noted
    assert yaml(noted) == yaml(fixed(YML))


def test_a_comment_that_would_land_in_a_quoted_text_stands_on_top() -> None:
    text = 'train: {lr: 5e-3, note: "a\n   b"}\nmodel:\n  lr: 5e-3\n'
    noted = fix_text(text.encode(), algorithm="SAC").noted
    assert noted == (
        '# lr was 5e-3\ntrain: {lr: 1.0e-4, note: "a\n   b"}\nmodel:\n  lr: 1.0e-4  # was 5e-3\n'
    )
    assert yaml(noted)["train"]["note"] == "a b"


def test_what_the_changes_say() -> None:
    changes = fix_text(YML.encode()).changes
    assert [(change.key, change.before, change.after) for change in changes] == [
        ("model.learning_rate", "5e-3", "1.0e-4"),
        ("model.clip_grad_value", "0.5", None),
        ("train.max_grad_norm", "10", "1.0"),
        ("train.lr", "lin_5e-3", "lin_1e-4"),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("learning_rate: 5e-3", "learning_rate: 1.0e-4"),
        ("learning_rate: 0.005", "learning_rate: 0.0001"),
        ("learning_rate: !!float 5e-3", "learning_rate: !!float 1e-4"),
        ("learning_rate: &lr !!float 5e-3", "learning_rate: &lr !!float 1e-4"),
        ('learning_rate: "5e-3"', 'learning_rate: "1.0e-4"'),
        ("learning_rate: lin_5e-3", "learning_rate: lin_1e-4"),
        ("learning_rate: .inf", "learning_rate: 0.0001"),
        ("{learning_rate: 5e-3}", "{learning_rate: 1.0e-4}"),
        ("{'learning_rate': 5e-3}", "{'learning_rate': 1.0e-4}"),
        ("clip_grad_value: !!float 0.5", "clip_grad_value: null"),
        ("clip_grad_value: '0.5'", "clip_grad_value: null"),
        ("max_grad_norm: null", "max_grad_norm: 1.0"),
        ("max_grad_norm: ~  # none", "max_grad_norm: 1.0  # none"),
        ("no_trading_warmup_steps: 20_000\nlearning_starts: 5000",
         "no_trading_warmup_steps: 5_000\nlearning_starts: 5000"),
    ],
)  # fmt: skip
def test_a_value_is_written_as_it_was(before: str, after: str) -> None:
    assert fixed(before) == after


PYYAML_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?")
"""A decimal float as PyYAML, and so rl-zoo, knows it (yaml/resolver.py): with a dot."""


@pytest.mark.parametrize("before", ["5e-3", "5E-3", "0.005", "5.0e-3", ".005", "1"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_written_is_a_number_to_pyyaml_too(before: str, algorithm: str) -> None:
    text = fixed(f"learning_rate: {before}\nmax_grad_norm: 0\n", algorithm=algorithm)
    for line in text.splitlines():
        value = line.partition(": ")[2]
        assert value in (before, "0") or PYYAML_FLOAT.fullmatch(value)


@pytest.mark.parametrize(
    "text",
    [
        'policy_kwargs: "dict(learning_rate=5e-3)"',
        "learning_rate: linear_schedule(5e-3)",
        "learning_rate: true",
        "learning_rate: {initial: 5e-3}",
        "learning_rate: |\n  5e-3\n",
        "actor_lr: 5e-3",
        "learning_starts: 100",
        "learning_rate:",
        "a: !!python/object/apply:os.system ['false']",
        "",
        "# nothing\n",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    result = fix_text(text.encode(), language=Language.YAML, algorithm="SAC")
    assert (result.changes, result.text, result.noted) == ((), text, text)


def test_line_endings_and_byte_order_marks_stay() -> None:
    text = "\ufeffmodel:\r\n  learning_rate: 5e-3 # a\r\n  b: 1\r\n"
    assert fixed(text) == text.replace("5e-3", "1.0e-4")


def test_an_alias_is_corrected_once_where_it_stands() -> None:
    text = "base: &base {learning_rate: 5e-3}\nrun: *base\nother:\n  <<: *base\n  gamma: 1\n"
    result = fix_text(text.encode(), algorithm="SAC")
    assert [change.key for change in result.changes] == ["base.learning_rate"]
    assert yaml(result.text)["other"]["learning_rate"] == 1e-4


def test_the_zoos_own_form() -> None:
    text = """\
Pendulum-v1: &defaults
  n_timesteps: !!float 20000
  policy: 'MlpPolicy'
  learning_rate: !!float 5e-3
  policy_kwargs: "dict(log_std_init=-3, net_arch=[400, 300])"

# Almost tuned
BipedalWalker-v3:
  <<: *defaults
  learning_rate: lin_7.3e-3
  learning_starts: 100
"""
    assert changed_lines(text, fixed(text)) == [
        ("  learning_rate: !!float 5e-3\n", "  learning_rate: !!float 1e-4\n"),
        ("  learning_rate: lin_7.3e-3\n", "  learning_rate: lin_1e-4\n"),
    ]


# -- algorithms --------------------------------------------------------------------------------


def rate_of(text: str, algorithm: str | None = None, stem: str = "") -> Any:
    return yaml(fix_text(text.encode(), algorithm=algorithm, stem=stem).text)


def test_the_algorithm_comes_from_the_option_the_file_or_its_name() -> None:
    text = "learning_rate: 1.0"
    assert rate_of(text, "SAC")["learning_rate"] == 1e-4
    assert rate_of(f"algo: ppo\n{text}")["learning_rate"] == 3e-4
    assert rate_of(f"run: {{algorithm: stable_baselines3.A2C}}\n{text}")["learning_rate"] == 7e-4
    assert rate_of(text, stem="td3")["learning_rate"] == 1e-3
    assert rate_of(text, "SAC", stem="td3")["learning_rate"] == 1e-4


def test_a_section_may_name_its_own_algorithm() -> None:
    text = "sac: {lr: 5e-2}\nppo: {lr: 5e-2}\nruns:\n- {algo: a2c, lr: 1}\n- {algo: dqn, lr: 1}\n"
    assert rate_of(text, "SAC") == {
        "sac": {"lr": 1e-4},
        "ppo": {"lr": 3e-4},
        "runs": [{"algo": "a2c", "lr": 7e-4}, {"algo": "dqn", "lr": 1e-4}],
    }


def test_a_file_that_names_no_algorithm_asks_for_the_option() -> None:
    with pytest.raises(SacdoctorError, match="--algorithm"):
        fix_text(b"learning_rate: 5e-3")
    with pytest.raises(SacdoctorError, match="--algorithm"):
        fix_text(b"algorithm: aes\nlearning_rate: 5e-3")


def test_an_unknown_algorithm_is_named() -> None:
    with pytest.raises(SacdoctorError, match="unknown algorithm 'SACK': there are SAC, TD3"):
        fix_config(algorithm="SACK")


# -- the warm-up -------------------------------------------------------------------------------


def test_learning_starts_are_raised_to_the_warmup() -> None:
    text = "env:\n  no_trading_warmup_steps: 5000\nmodel:\n  learning_starts: 100\n"
    assert fixed(text) == text.replace("100", "5000")


def test_learning_starts_follow_the_corrected_warmup() -> None:
    text = "no_trading_warmup_steps: 20000\nlearning_starts: 10000\n"
    assert fixed(text) == "no_trading_warmup_steps: 5000\nlearning_starts: 10000\n"


def test_missing_learning_starts_come_to_where_the_learning_rate_is() -> None:
    text = "env:\n  no_trading_warmup_steps: 5000\nmodel:\n  learning_rate: 1e-4  # a\n  b: 1\n"
    assert fixed(text) == text.replace("# a\n", "# a\n  learning_starts: 5000\n")
    noted = fix_text(text.encode(), algorithm="SAC").noted
    assert "  learning_starts: 5000  # was not set\n" in noted


def test_what_learns_from_no_buffer_gets_no_learning_starts() -> None:
    text = "no_trading_warmup_steps: 5000\nlearning_rate: 3.0e-4\n"
    assert fixed(text, algorithm="PPO") == text


def test_in_a_zoo_file_a_warmup_holds_for_its_environment_alone() -> None:
    text = (
        "A-v1:\n  learning_starts: 100\n"
        "B-v1:\n  learning_starts: 100\n  env_kwargs: {no_trading_warmup_steps: 3000}\n"
    )
    assert yaml(fixed(text))["A-v1"]["learning_starts"] == 100
    assert yaml(fixed(text))["B-v1"]["learning_starts"] == 3000


# -- JSON and TOML -----------------------------------------------------------------------------


def test_only_the_values_change_in_json() -> None:
    text = """\
{ "algo": "sac",
\t"model" : {"learning_rate": 5e-3, "clip_grad_value": "0.5", "n": "a \\" {b"},
  "list": [{"lr": "lin_0.005"}, 1, null, []],
  "max_grad_norm": 10}"""
    assert fixed(text, Language.JSON, None) == (
        text.replace("5e-3", "1e-4")
        .replace('"0.5"', "null")
        .replace("lin_0.005", "lin_0.0001")
        .replace("10}", "1.0}")
    )


def test_a_new_key_in_json_stands_like_the_others() -> None:
    text = '{\n    "no_trading_warmup_steps": 5000,\n    "learning_rate": 1e-4\n}\n'
    assert fixed(text, Language.JSON) == (
        '{\n    "no_trading_warmup_steps": 5000,\n    "learning_rate": 1e-4,\n'
        '    "learning_starts": 5000\n}\n'
    )


TOML = """\
# My run.
algorithm = "SAC"

[model]   # the agent
learning_rate = 5e-3   # fast!
net.arch = [ 400,
  300 ]
[[runs]]
lr = 'lin_5e-3'
kwargs = { max_grad_norm = 10, other = 1 }
"""


def test_only_the_values_change_in_toml() -> None:
    assert changed_lines(TOML, fixed(TOML, Language.TOML, None)) == [
        ("learning_rate = 5e-3   # fast!\n", "learning_rate = 1e-4   # fast!\n"),
        ("lr = 'lin_5e-3'\n", "lr = 'lin_1e-4'\n"),
        (
            "kwargs = { max_grad_norm = 10, other = 1 }\n",
            "kwargs = { max_grad_norm = 1.0, other = 1 }\n",
        ),
    ]


def test_each_changed_line_of_toml_says_what_it_was() -> None:
    noted = fix_text(TOML.encode()).noted
    assert "learning_rate = 1e-4   # fast!; was 5e-3\n" in noted
    assert "lr = 'lin_1e-4'  # was lin_5e-3\n" in noted
    assert noted.startswith("# max_grad_norm was 10\n# My run.\n")
    assert tomllib.loads(noted) == tomllib.loads(fixed(TOML, Language.TOML))


def test_toml_has_no_null_so_the_key_goes() -> None:
    result = fix_text(b"clip_grad_value = 0.5 # x\r\nb = 1\r\n", algorithm="SAC")
    assert result.text == "b = 1\r\n"
    assert result.noted == "# clip_grad_value was 0.5\r\nb = 1\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "[a.b]\nlearning_rate=5e-3\n[c]\nx=1\n[a.d]\nlearning_rate = 0.005\n",
        "model.learning_rate = 5e-3 # hi\nmodel.x = 2\n\n[z]\n",
        'a = {b = {lr = 5e-3}}\n"quoted key".lr = 5e-3\n',
    ],
)
def test_toml_in_odd_forms(text: str) -> None:
    after = fixed(text, Language.TOML)
    assert after == text.replace("5e-3", "1e-4").replace("0.005", "0.0001")


def test_a_new_key_in_toml_stays_in_its_table() -> None:
    text = "no_trading_warmup_steps = 5000\nlearning_rate = 1e-4\n\n[other]\na = 1\n"
    assert tomllib.loads(fixed(text, Language.TOML)) == {
        **tomllib.loads(text),
        "learning_starts": 5000,
    }


# -- any file ----------------------------------------------------------------------------------

_NUMBERS = st.sampled_from([5e-3, 1e-4, 0.0, 12, 20_000, -1, 1e-7, None, "lin_5e-3", "x", True])
_KEYS = st.sampled_from(
    ["learning_rate", "lr", "max_grad_norm", "clip_grad_value", "no_trading_warmup_steps",
     "learning_starts", "gamma", "model", "ppo", "Env-v1", "a b", "ü"]
)  # fmt: skip
_TREES = st.dictionaries(
    _KEYS,
    st.recursive(
        _NUMBERS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
        max_leaves=8,
    ),
    max_size=6,
)


def _leaves(tree: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    if isinstance(tree, dict):
        return {k: v for key in tree for k, v in _leaves(tree[key], (*path, key)).items()}
    if isinstance(tree, list):
        return {k: v for n, one in enumerate(tree) for k, v in _leaves(one, (*path, n)).items()}
    return {path: tree}


@pytest.mark.parametrize("language", list(Language))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=_TREES)
def test_a_second_run_changes_nothing_and_unknown_keys_never_change(
    language: Language, tree: dict[str, Any]
) -> None:
    from sacdoctor.settings.render import convert

    text = convert(tree, language)
    load = {Language.YAML: yaml, Language.JSON: json.loads, Language.TOML: tomllib.loads}[language]
    first = fix_text(text.encode(), language=language, algorithm="SAC")
    again = fix_text(first.text.encode(), language=language, algorithm="SAC")
    assert (again.changes, again.text) == ((), first.text)
    before, after = _leaves(load(text) or {}), _leaves(load(first.text) or {})
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {path[-1] for path in changed} <= {
        "learning_rate", "lr", "max_grad_norm", "clip_grad_value", "no_trading_warmup_steps",
        "learning_starts", "gamma",
    }  # fmt: skip
    assert _leaves(load(first.noted) or {}) == after


# -- what is no settings file --------------------------------------------------------------------

BOMB = (
    "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    + "learning_rate: 5e-3\n"
)


@pytest.mark.parametrize(
    ("data", "language", "reason"),
    [
        (b"a: [1", Language.YAML, "it is not YAML: .*line 1"),
        (b"a: 1\n---\nb: 2\n", Language.YAML, "another document"),
        (b"a: *nowhere", Language.YAML, "undefined alias"),
        (b"- 1\n", Language.YAML, "no settings"),
        (b"just text", None, "no settings"),
        (b"{", Language.JSON, "it is not JSON"),
        (b"[1]", Language.JSON, "no settings"),
        (b"a = ", Language.TOML, "it is not TOML"),
        (b"a = 1\na = 2", Language.TOML, "it is not TOML"),
        (b"[" * 100_000, Language.YAML, "nests deeper"),
        (b"{a: " * 20_000, Language.YAML, "nests deeper"),
        (b'{"a":' * 40_000, Language.JSON, "nests deeper"),
        (b"a = " + b"[" * 100_000, Language.TOML, "."),
        (bytes(range(256)), None, "neither text in UTF-8 nor a checkpoint"),
        (b"a: \0", Language.YAML, "neither text in UTF-8 nor a checkpoint"),
        (b"#" * ((1 << 18) + 1), Language.YAML, "larger than any settings file"),
        (BOMB.encode(), Language.YAML, "aliases unfold"),
        (b"a: &a\n  b: *a\n  lr: 5e-3\n", Language.YAML, "contains itself"),
        (b"a: &a\n  <<: *a\n  lr: 5e-3\n", Language.YAML, "contains itself"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_what_cannot_be_read_says_why(data: bytes, language: Language, reason: str) -> None:
    with pytest.raises(SacdoctorError, match=reason) as caught:
        fix_text(data, language=language, algorithm="SAC")
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([None, *Language]))
def test_any_bytes_are_read_or_refused(data: bytes, language: Language | None) -> None:
    try:
        fix_text(data, language=language, algorithm="SAC")
    except SacdoctorError as error:
        assert error.reason


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("learning_rate:=[]{}&*!<-'\"\n\r\t #|>5e.a,?%@"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for language in Language:
        try:
            fix_text(text.encode(), language=language, algorithm="SAC")
        except SacdoctorError as error:
            assert error.reason


def test_the_language_of_a_file_without_an_ending_is_found_out(tmp_path: Path) -> None:
    for text in ("learning_rate: 5e-3\n", '{"learning_rate": 5e-3}', "learning_rate = 5e-3\n"):
        path = tmp_path / "sac"
        path.write_text(text)
        assert len(fix_config(path).changes) == 1


DEEP = {
    Language.JSON: '{"a":' * 300 + "1" + "}" * 300,
    Language.YAML: "{a: " * 110 + "1" + "}" * 110,
    Language.TOML: "".join(f"[{'.'.join(['a'] * n)}]\n" for n in range(1, 80))
    + ".".join(["a"] * 60)
    + " = 1",
}


@pytest.mark.parametrize("language", DEEP)
def test_a_file_that_nests_too_deep_is_refused(language: Language) -> None:
    with pytest.raises(SacdoctorError, match="nests deeper"):
        fix_text(DEEP[language].encode(), language=language).as_text(Language.JSON)


def test_half_a_character_is_refused() -> None:
    """JSON can escape what no file in UTF-8 can hold."""
    with pytest.raises(SacdoctorError, match="half of a character"):
        fix_text(b'{"algorithm": "SAC", "name": "\\ud800"}').as_text(Language.TOML)


@pytest.mark.parametrize("starts", [".inf", "1e999"])
def test_a_warmup_without_end_is_refused_as_code(starts: str) -> None:
    fixed = fix_text(f"algorithm: SAC\nlearning_starts: !!float {starts}\n".encode())
    for render in (fixed.as_zoo, fixed.as_python):
        with pytest.raises(SacdoctorError, match="learning_starts is inf"):
            render()
