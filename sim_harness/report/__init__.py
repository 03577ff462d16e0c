"""Reports of runs: one page that needs nothing but a browser."""
