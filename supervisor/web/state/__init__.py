"""What the web process knows: the latest status, an hour of history, and where images lie.

Filled from the feed; read by pages, charts and metrics. Imports text and rates only.
"""
