"""The demonstration of `make run`: filemapd on three disk images, checked against filefrag and dmstats."""
