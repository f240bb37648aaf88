"""Mesoscale: phase-field energies, equations, steppers, descriptors."""
