"""The kernel's side of filemapd: dm_stats messages, group tags, FIEMAP, and the API after libdm's.

Sectors are 512 bytes, times nanoseconds, ids the kernel's region ids.
"""
