"""Calculators that behave badly, for campaigns; they run in the engine's process and know nothing of hea_jax."""

import os
import signal
import time

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError, SCFError
from ase.calculators.lj import LennardJones

__version__ = "7.5"


class Bad(LennardJones):
    """Lennard-Jones with one bad habit, for cells of the given number of atoms (0: all)."""

    def __init__(self, habit="", atoms=0, mixing=0.5, seconds=0.0):
        super().__init__(sigma=2.5, epsilon=0.4, rc=5.0)
        self.habit, self.only, self.mixing, self.wait = habit, atoms, mixing, seconds

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super().calculate(atoms, list(properties), list(system_changes))
        time.sleep(self.wait)
        if self.only not in (0, len(self.atoms)):
            return
        if self.habit == "raises":
            raise RuntimeError("the density ran away | twice")
        if self.habit == "does not converge" and self.mixing > 0.1:
            raise SCFError("no convergence")
        if self.habit == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.habit == "exits":
            os._exit(9)
        if self.habit == "nan":
            self.results["forces"] = self.results["forces"] * np.nan


class OneEnergy(LennardJones):
    """A calculator without a free energy and without stress."""

    def get_property(self, name, atoms=None, allow_calculation=True):
        if name in ("free_energy", "stress"):
            raise PropertyNotImplementedError(name)
        return super().get_property(name, atoms, allow_calculation)


class Cubic(LennardJones):
    """Energies of a made-up metal whose C44 converges like 1/n³ with the k-mesh."""

    def __init__(self, kpts):
        super().__init__(sigma=2.5, epsilon=0.4, rc=5.0)
        self.points = kpts[0]

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super().calculate(atoms, list(properties), list(system_changes))
        scale = 1 + self.points**-3.0
        for name in ("energy", "free_energy", "stress", "forces"):
            self.results[name] = self.results[name] * scale
