"""The database of what the kernel forgets: retired counters, groups, and the event log.

Import `ledger.Ledger`, and `events.Event` for the event log. Imports runtime and text only.
"""
