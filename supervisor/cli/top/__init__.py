"""`filemapd top`: the live table of what each image does.

`command` is the subcommand, `once` and `live` its two ways to run. Imported by `cli.main` only; imports control, text
and rates.
"""
