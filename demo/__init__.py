"""What `make run` shows: filemapd at work on three disk images, and whether what it says is so."""
