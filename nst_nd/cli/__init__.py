"""The command line: commands that consume Step events and never compute."""
