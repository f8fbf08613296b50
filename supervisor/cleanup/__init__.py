"""Finds and removes regions that filemapd left on devices.

Import `cleanup.Cleanup`. `owners` collects who still uses regions, `leftovers` decides. Imports config,
control's client, discovery, ledger and vms, to learn of every owner.
"""
