"""`python -m securecart` is the command `securecart`."""

from securecart.cli import main

main()
