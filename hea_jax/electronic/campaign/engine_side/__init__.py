"""Scripts that run in the engine's own Python: they need ase and numpy there, not this package.

They are started by path, one process per structure.
"""
