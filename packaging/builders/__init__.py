"""Makes the man pages, the OpenAPI document and the Debian package."""
