"""The HTML pages: `routes` maps addresses to pages, the other modules make what each shows.

Imported by the web process when it starts. Imports charts and state.
"""
