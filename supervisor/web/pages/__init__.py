"""The HTML pages: `routes` maps addresses to pages, the other modules make the contents of each.

Imported by the web process when it starts. Imports charts and state.
"""
