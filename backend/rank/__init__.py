"""Which tasks annotators should be asked about first."""
