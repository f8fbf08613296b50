"""The response of /metrics.

`exposition` renders it, `families` defines the metrics of a file. Imported by the web application. Imports state.
"""
