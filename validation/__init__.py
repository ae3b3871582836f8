"""Every yes or no: checks of data and of scaling, metrics, and the gate."""
