"""hea_jax: differentiable multi-scale simulation of high-entropy alloys in JAX."""

__version__ = "0.1.0"
