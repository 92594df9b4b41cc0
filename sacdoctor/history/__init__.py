"""Many checkpoints of one run: what changed between them, and when it went wrong."""

from sacdoctor.history.difference import Difference, SettingDifference, TensorDifference, diff

__all__ = ["Difference", "SettingDifference", "TensorDifference", "diff"]
