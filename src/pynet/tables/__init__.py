"""What `pynet.tabular` is made of: tables of columns of any kind, what becomes of them, and models of them.

`columns` holds what a table is read into, `files` reads it; `codes` and `encoder` turn columns into the inputs of the
network that `network` makes and `training` trains; `sources` takes what users give; `model` is TableModel,
`shown` what it shows, `importance` what columns matter.
"""
