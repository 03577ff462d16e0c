"""The virtual world: whole networks of replicas in one process, on a virtual clock, from one seed."""
