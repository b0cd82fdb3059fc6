"""The tables of a trace: their columns, their files and checks, and arithmetic on them."""
