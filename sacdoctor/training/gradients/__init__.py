"""Gradients watched and clipped between the backward pass and the optimizer's step."""

from sacdoctor.training.gradients.guard import GradientGuard
from sacdoctor.training.gradients.hooks import GRADIENT_WARNING, SAMPLED, GradientHooks
from sacdoctor.training.gradients.record import GradientRecord

__all__ = ["GRADIENT_WARNING", "SAMPLED", "GradientGuard", "GradientHooks", "GradientRecord"]
