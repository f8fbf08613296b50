"""Measures filemapd beside lvm2's dmfilemapd and the kernel's own limit, in one run."""
