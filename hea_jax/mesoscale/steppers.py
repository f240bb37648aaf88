"""Time steppers for stiff equations in Fourier space; they know no physics.

An equation gives its full rate R(û) and a symbol Λ that holds its stiffness; a stepper treats Λ implicitly (or
exactly) and R − Λ explicitly, so that Λ decides stability, never the solution that dt → 0 gives. All are one-step
methods: a run restarts bitwise from its fields, time and step. Any unit of time will do (s in this package).

Sources: Eyre 1998 (stabilised semi-implicit); Ascher, Ruuth & Spiteri 1997 (IMEX Runge–Kutta); Cox & Matthews 2002 and
Kassam & Trefethen 2005 (ETDRK4).
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hea_jax.core.types import Tree
from hea_jax.mesoscale.symbols import AbstractSymbol, Diagonal, exponential_weights

Rate = Callable[[Array], Array]
"""Spectrum → spectrum of its rate (1/s)."""


class AbstractStepper(eqx.Module):
    """One step of dû/dt = R(û). ``stabilisation`` multiplies the spectral radius of the bulk Hessian in Λ."""

    order: eqx.AbstractVar[int]
    stabilisation: eqx.AbstractVar[float]

    @abc.abstractmethod
    def prepare(self, symbol: AbstractSymbol, dt: Float[Array, ""]) -> Tree:
        """What depends on Λ and dt (s) alone, computed once per run of equal steps."""

    @abc.abstractmethod
    def step(self, rate: Rate, tables: Tree, dt: Float[Array, ""], spectrum: Array) -> Array:
        """The spectrum one ``dt`` (s) later."""


class SemiImplicit(AbstractStepper):
    """û + dt (1 − dt Λ)⁻¹ R(û): first order; the energy falls for any dt where Λ holds half the bulk Hessian."""

    order: int = eqx.field(static=True, default=1, init=False)
    stabilisation: float = eqx.field(static=True, default=1.0)

    def prepare(self, symbol, dt):
        return symbol.resolvent(dt)

    def step(self, rate, tables, dt, spectrum):
        return spectrum + dt * tables.apply(rate(spectrum))


GAMMA = 1 - 0.5**0.5
DELTA = 1 - 1 / (2 * GAMMA)


class IMEXRK2(AbstractStepper):
    """ARS(2,2,2): second order, two rates per step; for coupled symbols too.

    Stable for any dt where Λ holds between 0.85 and any multiple of the Hessian (the stiff limit of its amplification,
    4.83 ρ + 5.83 ρ² for the ratio ρ of the explicit to the implicit part, stays within ± 1 for −1 ≤ ρ ≤ 0.17). Where
    the bulk term is not stiff, as in grain growth with dt below the relaxation time, 0.5 is stable and more accurate.
    """

    order: int = eqx.field(static=True, default=2, init=False)
    stabilisation: float = eqx.field(static=True, default=1.0)

    def prepare(self, symbol, dt):
        return symbol, symbol.resolvent(GAMMA * dt)

    def step(self, rate, tables, dt, spectrum):
        symbol, resolvent = tables
        first = rate(spectrum) - symbol.apply(spectrum)
        middle = resolvent.apply(spectrum + GAMMA * dt * first)
        implicit = symbol.apply(middle)
        second = rate(middle) - implicit
        change = DELTA * first + (1 - DELTA) * second + (1 - GAMMA) * implicit
        return resolvent.apply(spectrum + dt * change)


class ETDRK4(AbstractStepper):
    """Exponential time differencing, fourth order; four rates per step. For ``Diagonal`` symbols.

    Where |Λ| dt is large the order falls towards three (Hochbruck & Ostermann 2005).
    """

    order: int = eqx.field(static=True, default=4, init=False)
    stabilisation: float = eqx.field(static=True, default=1.0)

    def prepare(self, symbol, dt):
        if not isinstance(symbol, Diagonal):
            raise TypeError("ETDRK4 needs an equation whose fields are not coupled in its stiff part: use IMEXRK2")
        z = dt * symbol.values
        return symbol, jnp.exp(z), jnp.exp(z / 2), *exponential_weights(z)

    def step(self, rate, tables, dt, spectrum):
        symbol, whole, half, q, f1, f2, f3 = tables

        def explicit(s):
            return rate(s) - symbol.apply(s)

        n0 = explicit(spectrum)
        a = half * spectrum + dt * q * n0
        na = explicit(a)
        nb = explicit(half * spectrum + dt * q * na)
        nc = explicit(half * a + dt * q * (2 * nb - n0))
        return whole * spectrum + dt * (f1 * n0 + 2 * f2 * (na + nb) + f3 * nc)
