"""The configuration: models, the YAML file, and error messages with their place in the file.

Import `load` to read a file and `models` for what it holds. Imports text only.
"""
