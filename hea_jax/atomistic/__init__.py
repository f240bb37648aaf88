"""Atomistic scale: neighbours, potentials, fitting, statics."""
