"""Gradients watched and clipped between the backward pass and the optimizer's step."""
