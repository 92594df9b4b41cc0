"""Dead elements fitted to what a replay buffer recorded of the agent, all else frozen.

Needs the extra `train` (Stable-Baselines3 and sb3-contrib): import it only where a refit is asked
for.
"""

from sacdoctor.repair.refit.refit import Asked, Refitted, refit, refit_model

__all__ = ["Asked", "Refitted", "refit", "refit_model"]
