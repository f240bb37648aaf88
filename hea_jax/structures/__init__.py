"""Structures: lattices and random alloys; microstructure generators and descriptors."""
