"""Two scales at once: FE² and the coupling of atoms to a continuum."""
