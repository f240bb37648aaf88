"""``hea-jax dft``: DFT campaigns from a configuration."""
