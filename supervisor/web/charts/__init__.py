"""SVG drawings of the pages, and figures as text.

Imported by pages. Imports state, for the series it draws.
"""
