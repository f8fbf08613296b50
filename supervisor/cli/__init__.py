"""The `filemapd` command: one module a subcommand, and what they print.

Imported by nobody; the entry point is `cli.main`, which imports each subcommand when it is called.
May import every other folder of the supervisor.
"""
