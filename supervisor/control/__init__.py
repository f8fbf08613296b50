"""The control socket: HTTP with JSON for the commands, and the status that it returns.

Import `server` and `handlers` to serve it, `client` to send requests, `status` for the status as JSON.
Imports fleet and vms, whose state it returns, and config.
"""
