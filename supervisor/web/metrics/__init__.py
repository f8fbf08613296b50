"""The text that /metrics serves.

`exposition` renders it, `families` has the metrics of an image. Imported by the web application. Imports state.
"""
