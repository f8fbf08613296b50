"""All images and their workers: processes, states, scheduling, health, and the budget of regions.

Import `fleet.Fleet` and `filemap.Filemap`; `state_machine` has the states. Imports the ledger, where
counters go, and config.
It knows nothing of directories, virtual machines, control or the web process.
"""
