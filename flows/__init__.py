"""The pipeline itself, orchestrated by Prefect, and the command line."""
