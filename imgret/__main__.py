"""`python -m imgret`, the same as the `imgret` script."""

from imgret.cli.app import main

if __name__ == "__main__":
    main()
