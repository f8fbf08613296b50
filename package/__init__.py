"""What makes packages of this tree: man pages and the Debian package."""
