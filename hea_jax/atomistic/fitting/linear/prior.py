"""What is believed of the coefficients before any data: the prior of the linear fit.

Each function has a scale: coefficients are expected to give forces of the size ``scale``, less for chemical differences
and for high angular momenta. Chemical channels are orthogonal differences of elements (``basis.chemical_channels``), so
a small decay says that elements resemble each other; it also decides what no data tell (three different elements
meeting, where only binaries were computed): they follow from the rest, instead of being set to zero.

Sources: MacKay 1992 (evidence); Willatt, Musil & Ceriotti 2018 (correlated elements); the scales are ours.
"""

import dataclasses

import numpy as np

from hea_jax.atomistic.potentials.body_ordered import BodyOrdered
from hea_jax.atomistic.potentials.body_ordered.basis import blocks


@dataclasses.dataclass(frozen=True)
class ChemicalPrior:
    """Standard deviations: ``scale`` (eV/Å) of the force a function gives; factors ``channel`` per chemical channel
    that enters (first: blind to elements) and ``centre`` per difference between central elements (last entries are
    repeated); 1/(1 + (l/``angular``)²) for angular momenta; ``four_body`` for four-body functions; ``offset_eV`` of
    element offsets.

    Raises ``ValueError`` for a number that is not positive.
    """

    scale: float = 0.1
    channel: tuple[float, ...] = (1.0, 0.2, 0.1)
    centre: tuple[float, ...] = (1.0, 0.3, 0.2)
    angular: float = 3.0
    four_body: float = 1.0
    offset_eV: float = 1.0e3

    def __post_init__(self):
        for field in dataclasses.fields(self):
            values = np.atleast_1d(getattr(self, field.name))
            if values.size == 0 or not (np.isfinite(values).all() and (values > 0).all()):
                raise ValueError(f"{field.name} must be positive, got {getattr(self, field.name)}")

    def relative(self, potential: BodyOrdered) -> np.ndarray:
        """(function,) relative standard deviations of three- and four-body functions; 1 for pairs."""
        T, S = potential.truncation, len(potential.elements)
        decay = _extended(self.channel, S)
        out = np.ones(potential.coefficients.shape[1])
        for block in blocks(T, S):
            if not block.orders:
                continue
            channels = np.array(T.three(S) if len(block.orders) == 1 else T.four(S))[block.index][..., 0]
            angular = 1.0 / (1.0 + (max(block.orders) / self.angular) ** 2)
            size = self.four_body if len(block.orders) == 3 else 1.0
            out[block.start : block.stop] = size * angular * np.prod(decay[channels], axis=1)
        return out

    def add_precision(self, matrix: np.ndarray, potential: BodyOrdered, force_rms: np.ndarray) -> float:
        """Add the inverse prior covariance to ``matrix`` (unknown, unknown; elements × functions, then offsets).

        ``force_rms`` (function,) in eV/Å per unit coefficient turns scales of forces into scales of coefficients.
        Returns ln det of the part that belongs to coefficients. Raises ``ValueError`` where no force is known.
        """
        S, F = potential.coefficients.shape
        n_pair = potential.truncation.pair_radial
        pairs = S * n_pair
        # A function that no force shows has no scale of its own: it takes that of the least visible one.
        seen = force_rms > 1e-10 * np.max(force_rms, initial=0.0)
        if np.max(force_rms, initial=0.0) < 1e-12:
            raise ValueError("no frame has forces that tell functions apart: add displaced structures to the data")
        rms = np.where(seen, force_rms, np.min(force_rms[seen]))
        sigma = self.scale * self.relative(potential) / rms
        W = np.asarray(potential.channels)
        centre = W.T @ np.diag(_extended(self.centre, S) ** -2.0) @ W
        element = W.T @ np.diag(_extended(self.channel, S) ** -2.0) @ W
        per_n = np.exp(np.mean(np.log(sigma[:pairs].reshape(S, n_pair)), axis=0))
        rest = np.arange(pairs, F)
        for a in range(S):
            for b in range(S):
                matrix[a * F + rest, b * F + rest] += centre[a, b] / sigma[pairs:] ** 2
                for z in range(S):
                    for y in range(S):
                        i, j = a * F + z * n_pair + np.arange(n_pair), b * F + y * n_pair + np.arange(n_pair)
                        matrix[i, j] += centre[a, b] * element[z, y] / per_n**2
        offsets = np.arange(S * F, len(matrix))
        matrix[offsets, offsets] += self.offset_eV**-2.0
        log_centre, log_element = np.linalg.slogdet(centre)[1], np.linalg.slogdet(element)[1]
        ln_pairs = S * n_pair * (log_centre + log_element) - 2.0 * S * S * np.sum(np.log(per_n))
        return float(ln_pairs + len(rest) * log_centre - 2.0 * S * np.sum(np.log(sigma[pairs:])))


def _extended(values, count):
    """The first ``count`` of the values, the last one repeated where there are fewer."""
    return np.array([values[min(k, len(values) - 1)] for k in range(count)], float)
