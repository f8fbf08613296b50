"""Names and times as text that is safe to print.

Imports nothing of ours.
"""
