"""``hea-jax verify``: reference cases of every scale, computed against independent truths."""

from hea_jax.app.verify.rows import SCALES, Case, Check, Skip

__all__ = ["SCALES", "Case", "Check", "Skip"]
