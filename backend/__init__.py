"""PAM Studio's Label Studio side."""
