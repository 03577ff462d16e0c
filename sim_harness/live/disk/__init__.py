"""A disk that fails as disks do: a file system of our own over the homes of all nodes (FUSE)."""
