"""`filemapd top`: the live table of each image's I/O.

`command` is the subcommand; `once` and `live` are its two modes. Only `cli.main` imports it. It imports control, text
and rates.
"""
