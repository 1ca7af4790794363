"""The report in the browser: everything about one evaluation on one page that needs no network.

A room of its own and not a part of `evaluation`: it brings together what the other rooms have found, and
reads frames and the files of a run, which evaluation must not know.
"""
