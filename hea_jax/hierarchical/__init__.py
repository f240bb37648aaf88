"""Hierarchical coupling: scale separation, upscaling, downscaling, and the chain of pure stages."""
