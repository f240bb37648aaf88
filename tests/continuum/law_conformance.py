"""What every elastic law must satisfy: symmetry, tangent against finite differences, transforms, serialisation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from helpers import check_gradient, check_serialises, check_transforms

from hea_jax.core.tensors import from_mandel, to_mandel
from hea_jax.records import AbstractFiniteStrainLaw, Loading, respond
from hea_jax.structures.rotations import random_rotations


def strain_samples(law):
    """Two generic strains of the kind that the law takes."""
    rng = np.random.default_rng(3)
    if isinstance(law, AbstractFiniteStrainLaw):
        return [jnp.asarray(np.eye(3) + 0.1 * rng.normal(size=(3, 3))) for _ in range(2)]
    return [jnp.asarray(0.01 * rng.normal(size=6)) for _ in range(2)]


def _loading(strain):
    return Loading(strain, jnp.asarray(310.0), jnp.asarray([0.5, 0.5]))


def check_tangent(law, strain):
    """σ and C by autodiff against central differences of ψ and σ; C has the major symmetry."""
    response = respond(law, _loading(strain))
    stress = jax.jit(lambda s: respond(law, _loading(s)).stress)
    energy = jax.jit(lambda s: respond(law, _loading(s)).energy)
    h, n = 1e-6, strain.size
    units = np.eye(n).reshape(n, *strain.shape)
    first = [(energy(strain + h * u) - energy(strain - h * u)) / (2 * h) for u in units]
    scale = float(jnp.max(jnp.abs(response.tangent)))
    np.testing.assert_allclose(np.reshape(first, strain.shape), response.stress, atol=1e-8 * scale)
    second = np.stack([(stress(strain + h * u) - stress(strain - h * u)) / (2 * h) for u in units], axis=-1)
    tangent = np.asarray(response.tangent).reshape(*strain.shape, n)
    np.testing.assert_allclose(second, tangent, atol=1e-7 * scale)
    matrix = tangent.reshape(n, n)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12 * scale)


def check_objectivity(law, F):
    """ψ(QF) = ψ(F) and P(QF) = Q P(F); a stress-free reference state."""
    Q = random_rotations(jax.random.key(5), 1)[0]
    a, b = respond(law, _loading(F)), respond(law, _loading(Q @ F))
    np.testing.assert_allclose(b.energy, a.energy, rtol=1e-12)
    np.testing.assert_allclose(b.stress, Q @ a.stress, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(respond(law, _loading(jnp.eye(3))).stress, 0, atol=1e-13)


def check_small_strain_symmetry(law, strain):
    """A Mandel stress is symmetric by construction; the energy must be that of the symmetric strain tensor."""
    np.testing.assert_allclose(to_mandel(from_mandel(strain)), strain, atol=1e-15)
    assert respond(law, _loading(strain)).stress.shape == (6,)


def check_law(law, tmp_path):
    """All of it, for one law of one material point."""
    for strain in strain_samples(law):
        check_tangent(law, strain)
        if isinstance(law, AbstractFiniteStrainLaw):
            check_objectivity(law, strain)
        else:
            check_small_strain_symmetry(law, strain)
    sample = strain_samples(law)[0]
    check_transforms(lambda s: respond(law, _loading(s)).stress, sample, name=type(law).__name__)
    check_gradient(lambda l: respond(l, _loading(sample)).energy, law, rtol=1e-6, name=type(law).__name__)
    energies = eqx.filter_vmap(lambda l, s: respond(l, _loading(s)).energy, in_axes=(None, 0))
    lanes = energies(law, jnp.stack([sample] * 2))
    np.testing.assert_allclose(lanes[0], lanes[1])
    check_serialises(law, tmp_path / "law.eqx")
