"""`make demo`: a real Label Studio and PAM Studio on this machine, with a project and photographs to click on."""
