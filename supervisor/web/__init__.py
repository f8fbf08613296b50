"""Metrics and the page, in an unprivileged process of their own.

The supervisor imports `process` and `feed_sender`, which start this process and send it the status. Only the web
process imports the other modules. It gets its data from the feed, and imports only constants of the fleet.
"""
