"""The edge of the package: configuration, run folders, report, verification and the command line."""
