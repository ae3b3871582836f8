"""Releases and live scoring: thresholds, verdicts, incidents, and the ledger of what is in force."""
