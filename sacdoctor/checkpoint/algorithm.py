"""Which algorithm wrote a checkpoint: SB3 saves no name, but its settings give it away."""

from __future__ import annotations

from collections.abc import Iterable

from sacdoctor.checkpoint.hyperparameters import Hyperparameters


def algorithm_of(settings: Hyperparameters, tensor_names: Iterable[str]) -> str | None:
    """Return the class name of the algorithm, None where the settings fit none of them.

    Each key below is one that only this algorithm's constructor keeps (SB3 0.6 to 2.9 and
    sb3-contrib 1.0 to 2.9).
    """
    if "top_quantiles_to_drop_per_net" in settings:
        return "TQC"
    if "n_quantiles" in settings:
        return "QRDQN"
    if "exploration_schedule" in settings or "exploration_fraction" in settings:
        return "DQN"
    if "target_noise_clip" in settings:
        # DDPG is TD3 with these two set so (stable_baselines3/ddpg/ddpg.py).
        delay, clip = settings.number("policy_delay"), settings.number("target_noise_clip")
        return "DDPG" if delay == 1 and clip == 0 else "TD3"
    if "cg_max_steps" in settings:
        return "TRPO"
    if "delta_std_schedule" in settings or "n_delta" in settings:
        return "ARS"
    if "clip_range" in settings:
        return _ppo(settings, tensor_names)
    if "target_entropy" in settings:
        without_target = "target_update_interval" not in settings
        return "CrossQ" if "policy_delay" in settings and without_target else "SAC"
    if "gae_lambda" in settings:
        return "A2C"
    return None


def _ppo(settings: Hyperparameters, tensor_names: Iterable[str]) -> str:
    if any(name.startswith("lstm_actor.") for name in tensor_names):
        return "RecurrentPPO"
    for key in ("policy_class", "rollout_buffer_class"):
        class_name = settings.class_name(key) or ""
        if ".maskable." in class_name or ".Maskable" in class_name:
            return "MaskablePPO"
        if ".recurrent." in class_name or ".Recurrent" in class_name:
            return "RecurrentPPO"
    return "PPO"
