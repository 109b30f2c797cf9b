"""python -m nst_nd is nst-nd."""

from nst_nd.cli.main import main

main()
