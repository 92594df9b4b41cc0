"""Parts of the agent, in the words of the people who train it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch as th

from sacdoctor import ScanOptions, scan
from sacdoctor.layers import online_name, roles, target_name
from tests import torch_truth
from tests.agents import train
from tests.archives import write_sb3


def components(*names: str) -> list[str]:
    return [role.component for role in roles(dict.fromkeys(names, (3,))).values()]


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("mlp_extractor.policy_net.0.bias", "actor"),
        ("mlp_extractor.value_net.0.bias", "critic"),
        ("mlp_extractor.shared_net.0.bias", "shared network"),
        ("action_net.bias", "actor"),
        ("value_net.bias", "critic"),
        ("log_std", "actor"),
        ("actor.mu.bias", "actor"),
        ("critic.qf0.0.bias", "critic"),
        ("critic_target.qf0.0.bias", "critic target"),
        ("actor_target.mu.0.bias", "actor target"),
        ("q_net.q_net.0.bias", "Q-network"),
        ("q_net_target.q_net.0.bias", "Q-network target"),
        ("quantile_net.quantile_net.0.bias", "quantile network"),
        ("quantile_net_target.quantile_net.0.bias", "quantile network target"),
        ("features_extractor.cnn.0.bias", "features extractor"),
        ("pi_features_extractor.cnn.0.bias", "features extractor"),
        ("vf_features_extractor.cnn.0.bias", "features extractor"),
        ("actor.features_extractor.cnn.0.bias", "features extractor"),
        ("critic_target.features_extractor.cnn.0.bias", "critic target"),
        ("my_special_head.0.bias", "my special head"),
        ("hybrid_fusion.0.bias", "fusion"),
        ("bias", "bias"),
    ],
)
def test_component_of_a_name(name: str, component: str) -> None:
    assert components(name) == [component]


@pytest.mark.parametrize(
    ("algorithm", "policy", "expected"),
    [
        ("PPO", "MlpPolicy", {"actor", "critic"}),
        ("A2C", "CnnPolicy", {"actor", "critic", "features extractor"}),
        ("RecurrentPPO", "MlpLstmPolicy", {"actor", "critic", "LSTM"}),
        ("SAC", "MlpPolicy", {"actor", "critic", "critic target"}),
        ("TQC", "MlpPolicy", {"actor", "critic", "critic target"}),
        ("TD3", "MlpPolicy", {"actor", "actor target", "critic", "critic target"}),
        ("CrossQ", "MlpPolicy", {"actor", "critic"}),
        ("DQN", "MlpPolicy", {"Q-network", "Q-network target"}),
        (
            "QRDQN",
            "MultiInputPolicy",
            {"quantile network", "quantile network target", "features extractor"},
        ),
    ],
)
def test_components_of_an_agent(
    tmp_path: Path, algorithm: str, policy: str, expected: set[str]
) -> None:
    train(algorithm, policy).save(tmp_path / "m.zip")
    assert {layer.component for layer in scan(tmp_path / "m.zip").layers} == expected


@pytest.mark.parametrize(
    ("name", "online"),
    [
        ("critic_target.qf0.0.bias", "critic.qf0.0.bias"),
        ("actor_target.mu.0.bias", "actor.mu.0.bias"),
        ("q_net_target.q_net.0.bias", "q_net.q_net.0.bias"),
        ("quantile_net_target.quantile_net.0.bias", "quantile_net.quantile_net.0.bias"),
        ("critic.qf0.0.bias", None),
        ("my_target", None),
        ("head.critic_target.bias", None),
    ],
)
def test_online_counterpart_of_a_target(name: str, online: str | None) -> None:
    assert online_name(name) == online
    assert online is None or target_name(online) == name


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "DQN", "QRDQN", "TQC", "DDPG"])
def test_every_target_tensor_of_an_agent_has_its_online_counterpart(
    tmp_path: Path, algorithm: str
) -> None:
    train(algorithm, "MlpPolicy").save(tmp_path / "m.zip")
    tensors = torch_truth.state_dict(tmp_path / "m.zip")
    targets = [name for name in tensors if "target" in name]
    assert targets
    for name in targets:
        online = online_name(name)
        assert online is not None
        assert tensors[online].shape == tensors[name].shape


# -- the profile of TwoHeadV11Sigmoid ----------------------------------------------------------


def test_two_head_parts_have_their_authors_names(broken: Path) -> None:
    found = {layer.name.partition(".")[0]: layer.component for layer in scan(broken).layers}
    assert found == {
        "log_std": "actor",
        "features_extractor": "features extractor",
        "pi_features_extractor": "features extractor",
        "vf_features_extractor": "features extractor",
        "mlp_extractor": found["mlp_extractor"],  # actor and critic, see above
        "action_net": "actor",
        "value_net": "critic",
        "lstm_actor": "LSTM",
        "critic": "critic",
        "v8_shared_lstm": "LSTM",
        "v11_shared_gru": "GRU",
        "hybrid_fusion": "fusion",
        "market_context": "market context",
        "entry_head": "entry head",
        "management_head": "management head",
        "memory_bank": "memory bank",
        "v8_critic": "critic",
    }


def test_profile_needs_the_whole_signature() -> None:
    """Another policy may have a `v8_critic` without being this one."""
    assert components("v8_critic.0.bias", "entry_head.0.bias") == ["v8 critic", "entry head"]


def test_parts_of_the_sac_policy_are_named_alike() -> None:
    names = (
        "actor.features_extractor.v8_shared_lstm.bias_ih_l0",
        "actor.features_extractor.v8_shared_lstm.weight_hh_l0",
        "critic.features_extractor.hybrid_fusion.0.bias",
    )
    shapes = {names[0]: (16,), names[1]: (16, 4), names[2]: (4,)}
    found = [role.component for role in roles(shapes).values()]
    assert found == ["LSTM", "LSTM", "fusion"]


# -- names that a user gives -------------------------------------------------------------------


def test_users_pattern_comes_before_everything(tmp_path: Path, broken: Path) -> None:
    options = ScanOptions(components={"v11_*": "second memory", "*.bias_hh*": "never reached"})
    found = {layer.name: layer.component for layer in scan(broken, options).layers}
    assert found["v11_shared_gru.bias_hh_l0"] == "second memory"
    assert found["v8_shared_lstm.bias_hh_l0"] == "never reached"
    assert found["hybrid_fusion.0.bias"] == "fusion"


def test_patterns_are_matched_in_their_order(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "m.zip", {"head.a.bias": th.ones(1), "head.b.bias": th.ones(1)})
    options = ScanOptions(components={"head.a.*": "first", "head.*": "second"})
    assert [layer.component for layer in scan(path, options).layers] == ["first", "second"]


def onlines(*modules: str, other: str | None = None) -> dict[str, str | None]:
    """The online counterpart of each module's weight; `other` has one of another shape."""
    shapes = {f"{module}.net.0.weight": (4, 3) for module in modules}
    if other is not None:
        shapes[f"{other}.net.0.weight"] = (4, 4)
    found = roles(shapes)
    return {
        name.removesuffix(".net.0.weight"): role.online
        and role.online.removesuffix(".net.0.weight")
        for name, role in found.items()
    }


@pytest.mark.parametrize(
    ("target", "online"),
    [
        *(
            ("target_critic", "critic"),
            ("critic_target_1", "critic_1"),
            ("critic1_target", "critic1"),
        ),
        *(("q1_targ", "q1"), ("targetQ1", "q1"), ("agent.target_actor", "agent.actor")),
        *(("target_net", "policy_net"), ("target", "online"), ("q_network_target", "q_network")),
        *(("targets.critic", "online.critic"), ("target.critic", "critic")),
    ],
)
def test_a_target_is_told_by_its_name_and_by_what_stands_beside_it(
    target: str, online: str
) -> None:
    assert onlines(online, target) == {online: None, target: online}


def test_a_module_called_after_a_target_is_none_without_its_like() -> None:
    assert onlines("target_price_head", other="price_head")["target_price_head"] is None
    assert onlines("target_price_head", "entry_head")["target_price_head"] is None


def test_of_two_that_are_alike_neither_is_taken() -> None:
    assert onlines("q1", "q2", "target_net")["target_net"] is None


def test_the_part_of_a_target_is_called_after_the_online_one() -> None:
    shapes = {"agent.q1.fc.weight": (4, 3), "agent.q1_targ.fc.weight": (4, 3)}
    assert [role.component for role in roles(shapes).values()] == ["q1", "q1 target"]


def test_outer_modules_that_say_nothing_are_passed_over() -> None:
    shapes = {
        "model.actor.fc.weight": (4, 3),
        "net.0.weight": (4, 3),
        "module.critic.weight": (1, 3),
    }
    assert [role.component for role in roles(shapes).values()] == ["actor", "net", "critic"]


def test_ten_thousand_targets_are_told_within_a_moment() -> None:
    shapes = {f"target_{n}.weight": (n % 7, 3) for n in range(10_000)}
    shapes |= {f"q_{n}.weight": (n % 7, 3) for n in range(10_000)}
    start = time.process_time()
    assert roles(shapes)["target_9999.weight"].online is None
    assert time.process_time() - start < 2.0
