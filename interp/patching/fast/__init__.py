"""The same numbers as a whole forward pass a patch, with what a patch cannot change computed once."""
