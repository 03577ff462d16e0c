"""The virtual world: whole networks of replicas in one process, from one seed."""
