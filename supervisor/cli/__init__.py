"""The `filemapd` command: a module for each subcommand, and the tables that they print.

No other folder imports it. The entry point is `cli.main`, which imports each subcommand when it is called.
May import every other folder of the supervisor.
"""
