"""Newton on the forces of a problem that has an energy.

Source: Nocedal & Wright 2006, ch. 11 (residual norm as merit function).
"""

import equinox as eqx

from hea_jax.core.condense import AbstractProblem, AbstractResidualProblem
from hea_jax.core.minimise import AbstractMinimiser, Newton


class Forces(AbstractResidualProblem):
    """A problem seen only through its residual: a line search then lowers ‖P W_y‖ in place of W."""

    problem: AbstractProblem

    def residual(self, x, y):
        return self.problem.residual(x, y)

    def project(self, y):
        return self.problem.project(y)

    def operator(self, x, y):
        return self.problem.operator(x, y)

    def preconditioner(self, x, y):
        return self.problem.preconditioner(x, y)


class ForceNewton(AbstractMinimiser):
    """``Newton`` whose line search lowers ‖P W_y‖ in place of W.

    An elastic energy is a small difference of large numbers (tr FᵀF − 3): its round-off hides the last decades of a
    decrease, and forbids good steps. Negative curvature along the search directions is still reported.
    """

    rtol: float = eqx.field(static=True, default=1e-10)
    atol: float = eqx.field(static=True, default=1e-12)
    max_steps: int = eqx.field(static=True, default=50)
    forcing: float = eqx.field(static=True, default=1e-2)

    def minimise(self, problem, x, y0, linear):
        newton = Newton(rtol=self.rtol, atol=self.atol, max_steps=self.max_steps, forcing=self.forcing)
        return newton.minimise(Forces(problem), x, y0, linear)
