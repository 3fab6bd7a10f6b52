"""`python -m backend` is `pam-studio`."""

from backend.cli import main

if __name__ == "__main__":
    main()
