"""The supervisor as a service: systemd, the log, the instance lock, start-up progress, on_move hooks.

Imported by the daemon and the `run` command. Imports config, the ledger's events and the fleet's states.
"""
