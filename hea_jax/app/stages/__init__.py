"""The stages of the chain: thin wrappers that read the configuration, call the library, and report."""
