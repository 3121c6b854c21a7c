"""`python -m oddwatch` is the command `oddwatch`."""

from oddwatch.cli import main

main()
