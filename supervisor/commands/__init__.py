"""The commands of `filemapd`, each imported when it is called (cli.py)."""
