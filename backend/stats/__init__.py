"""`pam-studio stats`: what the ledger holds, and what became of what the models suggested."""
