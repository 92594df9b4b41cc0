"""Inputs of less than a megabyte that were made to take for ever, or gigabytes, or to end in chaos.

`programs` are pickle programs, for every place where a pickle stands; `files` are those places and
files of other kinds, each with the command lines that look into it. `running` runs command lines
and tells what they took.
"""
