"""``hea-jax fit``: potentials fitted to reference data from a configuration."""
