"""The command ``bbb``: one file per verb, each a thin shell over a library function."""
