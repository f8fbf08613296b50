"""The web process's data: the latest status, an hour of history, and the places of images on devices.

The feed fills it. Read by pages, charts and metrics. Imports text and rates only.
"""
