"""The pipeline itself, orchestrated by Prefect, and the command line."""

import telemetry as telemetry  # before anything loads Polars: it says how memory is kept
