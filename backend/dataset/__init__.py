"""Corrections as training data: immutable versions, built from the ledger, each from what changed since the last."""
