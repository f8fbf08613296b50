"""Formats names and times as text that is safe to print.

May be imported from everywhere. Imports nothing of filemapd.
"""
