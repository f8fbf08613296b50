"""Metrics and the page, in an unprivileged process of their own.

The supervisor imports `process` and `feed_sender`, which start that process and feed it with the status. All else is
imported in the web process only, which gets its data from the feed and imports nothing of the fleet but constants.
"""
