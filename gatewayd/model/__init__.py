"""Models: the bundle on disk, the file inside it, and the runtimes that run it."""
