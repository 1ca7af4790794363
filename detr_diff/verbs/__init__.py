"""One file per verb of the command: compose the parts, run them, write the results."""
