"""Continuum: constitutive laws, RVE homogenisation on voxel grids, bounds."""
