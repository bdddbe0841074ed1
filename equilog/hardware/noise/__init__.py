"""Noise at rest: its covariance, exact or sampled, and draws of it to train with."""

from equilog.hardware.noise.at_rest import NoiseAtRest, noise_at_rest
from equilog.hardware.noise.draw import draw_noise, spread_apart

__all__ = ["NoiseAtRest", "draw_noise", "noise_at_rest", "spread_apart"]
