"""Which files are to be followed: those listed, and those found by scanning directories.

Import `selection` to resolve a configuration, `directories.Directories` to keep the fleet up to date with the
directories. Imports fleet and config.
"""
