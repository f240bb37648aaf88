"""Crystals as stacks of lattice planes: slabs with two surfaces, and cells with one generalised stacking fault.

Fault cells are periodic in all directions: the third cell vector is tilted by the displacement u·b, so that every cell
holds exactly one fault. In bcc b = a/2⟨111⟩, in fcc {111} b = a/6⟨112⟩ with u = 1 the intrinsic stacking fault.
On {112} u = 1/3 is on the anti-twinning side; u = 2/3 (= −1/3) gives the twin boundary's stacking.

Source: Vitek 1968, Philos. Mag. 18, 773 (γ-surfaces of bcc); Tadmor & Bernstein 2004 (fcc partials).
"""

import dataclasses

import numpy as np

from hea_jax.structures.crystals import Crystal, wrapped


@dataclasses.dataclass(frozen=True)
class Plane:
    """A lattice plane, in units of a: two in-plane vectors, the step to the next layer, the layers per period.

    ``period`` is the normal lattice vector that spans ``layers`` layers; ``slip`` the vector b that ``u`` multiplies
    (None: no slip plane).
    """

    in_plane: tuple[tuple[float, float, float], tuple[float, float, float]]
    step: tuple[float, float, float]
    layers: int
    period: tuple[float, float, float]
    slip: tuple[float, float, float] | None = None

    @property
    def normal(self) -> np.ndarray:
        """Unit normal, (3,)."""
        return np.array(self.period) / np.linalg.norm(self.period)

    @property
    def spacing(self) -> float:
        """Distance between layers in units of a."""
        return float(np.linalg.norm(self.period) / self.layers)


PLANES = {
    "bcc": {
        "100": Plane(((1, 0, 0), (0, 1, 0)), (0.5, 0.5, 0.5), 2, (0, 0, 1)),
        "110": Plane(((0.5, -0.5, 0.5), (-0.5, 0.5, 0.5)), (0.5, 0.5, 0.5), 2, (1, 1, 0), slip=(0.5, -0.5, 0.5)),
        "111": Plane(((1, -1, 0), (0, 1, -1)), (0.5, 0.5, -0.5), 3, (0.5, 0.5, 0.5)),
        "112": Plane(((0.5, 0.5, -0.5), (1, -1, 0)), (0.5, -0.5, 0.5), 6, (1, 1, 2), slip=(0.5, 0.5, -0.5)),
    },
    "fcc": {
        "100": Plane(((0.5, 0.5, 0), (-0.5, 0.5, 0)), (0.5, 0, 0.5), 2, (0, 0, 1)),
        "110": Plane(((0.5, -0.5, 0), (0, 0, 1)), (0.5, 0, 0.5), 2, (0.5, 0.5, 0)),
        "111": Plane(((0.5, -0.5, 0), (0, 0.5, -0.5)), (0.5, 0, 0.5), 3, (1, 1, 1), slip=(1 / 6, -1 / 3, 1 / 6)),
    },
}
"""Planes of the cubic lattices by Miller indices."""


def plane_of(lattice: str, indices: str) -> Plane:
    """A plane by lattice and Miller indices; raises ``ValueError`` listing those that are known."""
    if lattice not in PLANES or indices not in PLANES[lattice]:
        known = ", ".join(f"{name} {plane}" for name, planes in PLANES.items() for plane in planes)
        raise ValueError(f"no plane {lattice} {indices!r}: known are {known}")
    return PLANES[lattice][indices]


def _stack(plane: Plane, symbols: tuple[str, ...], lattice_constant_A: float, third: np.ndarray) -> Crystal:
    """Layers of one atom each in a cell with the given third vector (units of a)."""
    if not lattice_constant_A > 0:
        raise ValueError(f"lattice constant must be positive, got {lattice_constant_A} Å")
    cell = lattice_constant_A * np.array([*plane.in_plane, third], float)
    positions = lattice_constant_A * np.arange(len(symbols))[:, None] * np.array(plane.step)
    return wrapped(Crystal(tuple(symbols), positions, cell))


def stacking_fault(plane: Plane, symbols: tuple[str, ...], lattice_constant_A: float, u: float) -> Crystal:
    """A periodic stack with one fault, displaced by u times the slip vector; one symbol per layer, a in Å.

    Raises ``ValueError`` if the plane has no slip vector or the layers do not fill whole periods.
    """
    if plane.slip is None:
        raise ValueError("this plane is no slip plane: choose one with a slip vector (bcc 110, 112; fcc 111)")
    if not symbols or len(symbols) % plane.layers:
        raise ValueError(f"{len(symbols)} layers do not fill whole periods: use a multiple of {plane.layers}")
    third = np.array(plane.period, float) * (len(symbols) // plane.layers) + u * np.array(plane.slip)
    return _stack(plane, symbols, lattice_constant_A, third)


def fault_area(plane: Plane, lattice_constant_A: float) -> float:
    """Area of the fault, or of one of a slab's surfaces (Å²)."""
    return float(np.linalg.norm(np.cross(*np.array(plane.in_plane, float))) * lattice_constant_A**2)


def slab(plane: Plane, symbols: tuple[str, ...], lattice_constant_A: float, vacuum_A: float) -> Crystal:
    """A slab of one atom per layer with two unrelaxed surfaces; its third cell vector is normal and holds the vacuum.

    Lattice constant and vacuum in Å. Raises ``ValueError`` for fewer than two layers or a negative vacuum.
    """
    if len(symbols) < 2 or not vacuum_A >= 0:
        raise ValueError(f"a slab needs two layers and a vacuum, got {len(symbols)} and {vacuum_A} Å")
    bulk = _stack(plane, symbols, lattice_constant_A, np.array(plane.period, float) * (len(symbols) / plane.layers))
    cell = bulk.cell + np.array([0.0, 0.0, vacuum_A])[:, None] * plane.normal
    return dataclasses.replace(bulk, cell=cell)
