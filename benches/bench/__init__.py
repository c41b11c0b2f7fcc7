"""The benchmark driver: processes, variants, work lines, report."""
