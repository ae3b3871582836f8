"""What the data is: contract, units, sources, the grid, its lake, scaling, windows, and a fleet to try it on."""

import os

# Polars' allocator gives memory back within a second and takes it again page by page: a quarter of an ingestion's time. Where the caller
# has said nothing else, it keeps for half a minute what it will need again. It is asked once, when Polars is loaded.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:30000,muzzy_decay_ms:30000")
