"""What the data is: contract, units, sources, the grid, its lake, scaling, windows, and a fleet to try it on."""
