"""SVG drawings of the pages, and numbers formatted as text.

Imported by pages. Imports state, for the series it draws.
"""
