"""The event loop, timers, and child processes.

No folder here knows what filemapd does. Imports nothing of the supervisor.
"""
