"""One process for each followed file, and the `dmfilemapd` command.

The supervisor imports `messages` for the protocol and `watcher` for inotify; `fork_server` is a program of its own.
Imports dmstats; never the supervisor.
"""
