"""What units of a network respond to most: the patches of many signals that maximise them, and inputs made to.

`collect` finds the inputs, `search` goes through them one by one, `draw` and `record` say what was found.
"""
