"""Networks, their training and their forecasts, on arrays alone."""
