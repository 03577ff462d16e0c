"""Launch networks of nodes, live or in virtual time, and break them on purpose."""
