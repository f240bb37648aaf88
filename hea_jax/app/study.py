"""The stages of ``hea-jax run``, in order: from reference data to a homogenised modulus and back by gradient."""

from hea_jax.app.runs import Stage


def stages() -> tuple[Stage, ...]:
    """The chain of a study."""
    return ()
