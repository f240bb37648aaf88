"""Configurations: strict YAML, frozen models with units in the field names, all errors at once."""

from hea_jax.app.config.load import load_config
from hea_jax.app.config.models import Config
from hea_jax.app.config.problems import ConfigError, Problem

__all__ = ["Config", "ConfigError", "Problem", "load_config"]
