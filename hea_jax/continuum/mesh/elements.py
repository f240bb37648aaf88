"""Elements as tables: a polynomial basis, the reference nodes that fix it, a Gauss rule and the facets.

N_a is the combination of the monomials ξ^p that is 1 at node a and 0 at the others. Reference lines, squares and cubes
are [−1, 1]^dim, the reference triangle has corners (0,0), (1,0), (0,1). Nodes are numbered as in VTK.

Sources: Hughes 1987, ch. 3; Zienkiewicz & Taylor 2000 (serendipity); Dunavant 1985 (triangle rules).
"""

import abc

import equinox as eqx
import numpy as np

Exponents = tuple[tuple[int, ...], ...]
Rule = tuple[np.ndarray, np.ndarray]
"""Local points (gauss, dim) and their weights (gauss,)."""


class AbstractElement(eqx.Module):
    """A reference element. Properties are plain numpy; nothing here depends on a mesh."""

    @property
    @abc.abstractmethod
    def exponents(self) -> Exponents:
        """Powers of the local coordinates in every monomial of the basis, (a, dim)."""

    @property
    @abc.abstractmethod
    def nodes(self) -> np.ndarray:
        """Local coordinates of the nodes, (a, dim), corners first."""

    @property
    @abc.abstractmethod
    def rule(self) -> Rule:
        """The quadrature."""

    @property
    @abc.abstractmethod
    def facet(self) -> "AbstractElement | None":
        """The element of an edge (2D) or a face (3D), ``None`` for a line."""

    @property
    @abc.abstractmethod
    def facets(self) -> np.ndarray:
        """Local nodes of every facet, (facet, nodes of a facet), the outward normal by the right-hand rule."""

    @property
    @abc.abstractmethod
    def vtk(self) -> int:
        """VTK's number of the cell type."""

    @property
    def dim(self) -> int:
        """Dimension of the reference element."""
        return len(self.exponents[0])

    def shape(self, points: np.ndarray) -> np.ndarray:
        """N_a at local points (gauss, dim), (gauss, a)."""
        return _monomials(points, self.exponents) @ self._coefficients()

    def slopes(self, points: np.ndarray) -> np.ndarray:
        """dN_a/dξ_d at local points (gauss, dim), (gauss, a, dim)."""
        columns = []
        for d in range(self.dim):
            powers = np.array(self.exponents)
            factor = powers[:, d].astype(float)
            powers[:, d] = np.maximum(powers[:, d] - 1, 0)
            columns.append((factor * _monomials(points, powers)) @ self._coefficients())
        return np.stack(columns, axis=-1)

    def _coefficients(self) -> np.ndarray:
        return np.linalg.inv(_monomials(self.nodes, self.exponents))


class Line2(AbstractElement):
    """Two-node line, two Gauss points: the edge of linear elements."""

    @property
    def exponents(self):
        return (0,), (1,)

    @property
    def nodes(self):
        return np.array([[-1.0], [1.0]])

    @property
    def rule(self):
        return gauss_legendre(2, 1)

    @property
    def facet(self):
        return None

    @property
    def facets(self):
        return np.zeros((0, 1), int)

    @property
    def vtk(self):
        return 3


class Line3(AbstractElement):
    """Three-node line, three Gauss points: the edge of quadratic elements."""

    @property
    def exponents(self):
        return (0,), (1,), (2,)

    @property
    def nodes(self):
        return np.array([[-1.0], [1.0], [0.0]])

    @property
    def rule(self):
        return gauss_legendre(3, 1)

    @property
    def facet(self):
        return None

    @property
    def facets(self):
        return np.zeros((0, 1), int)

    @property
    def vtk(self):
        return 21


class Tri3(AbstractElement):
    """Linear triangle, one Gauss point."""

    @property
    def exponents(self):
        return (0, 0), (1, 0), (0, 1)

    @property
    def nodes(self):
        return np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    @property
    def rule(self):
        return np.array([[1 / 3, 1 / 3]]), np.array([0.5])

    @property
    def facet(self):
        return Line2()

    @property
    def facets(self):
        return np.array([[0, 1], [1, 2], [2, 0]])

    @property
    def vtk(self):
        return 5


class Tri6(AbstractElement):
    """Quadratic triangle, three Gauss points."""

    @property
    def exponents(self):
        return (0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)

    @property
    def nodes(self):
        return np.array([[0, 0], [1, 0], [0, 1], [0.5, 0], [0.5, 0.5], [0, 0.5]])

    @property
    def rule(self):
        return np.array([[1, 1], [4, 1], [1, 4]]) / 6, np.full(3, 1 / 6)

    @property
    def facet(self):
        return Line3()

    @property
    def facets(self):
        return np.array([[0, 1, 3], [1, 2, 4], [2, 0, 5]])

    @property
    def vtk(self):
        return 22


class Quad4(AbstractElement):
    """Bilinear quadrilateral, 2×2 Gauss points."""

    @property
    def exponents(self):
        return (0, 0), (1, 0), (0, 1), (1, 1)

    @property
    def nodes(self):
        return np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])

    @property
    def rule(self):
        return gauss_legendre(2, 2)

    @property
    def facet(self):
        return Line2()

    @property
    def facets(self):
        return np.array([[0, 1], [1, 2], [2, 3], [3, 0]])

    @property
    def vtk(self):
        return 9


class Quad8(AbstractElement):
    """Serendipity quadrilateral; ``points`` per direction: 3 (full) or 2 (reduced, softer; one mode without energy,
    which neighbours suppress)."""

    points: int = eqx.field(static=True, default=3)

    @property
    def exponents(self):
        return (0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (2, 1), (1, 2)

    @property
    def nodes(self):
        return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [0, -1], [1, 0], [0, 1], [-1, 0]], float)

    @property
    def rule(self):
        return gauss_legendre(self.points, 2)

    @property
    def facet(self):
        return Line3()

    @property
    def facets(self):
        return np.array([[0, 1, 4], [1, 2, 5], [2, 3, 6], [3, 0, 7]])

    @property
    def vtk(self):
        return 23


class Hex8(AbstractElement):
    """Trilinear hexahedron, 2×2×2 Gauss points."""

    @property
    def exponents(self):
        return (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)

    @property
    def nodes(self):
        square = Quad4().nodes
        return np.concatenate([np.c_[square, -np.ones(4)], np.c_[square, np.ones(4)]])

    @property
    def rule(self):
        return gauss_legendre(2, 3)

    @property
    def facet(self):
        return Quad4()

    @property
    def facets(self):
        return np.array([[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]])

    @property
    def vtk(self):
        return 12


def gauss_legendre(count: int, dim: int) -> Rule:
    """The product rule of ``count`` points per direction on [−1, 1]^dim."""
    x, w = np.polynomial.legendre.leggauss(count)
    points = np.stack(np.meshgrid(*[x] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = np.prod(np.stack(np.meshgrid(*[w] * dim, indexing="ij"), axis=-1).reshape(-1, dim), axis=1)
    return points, weights


def _monomials(points, exponents) -> np.ndarray:
    return np.prod(np.asarray(points, float)[:, None, :] ** np.asarray(exponents)[None], axis=-1)
