"""The same numbers as a whole forward pass a patch, with what a patch cannot change computed once.

Three records hold everything: a `Block` (parts) is a block taken apart with what it gets beside the residual stream, a `State`
(changes) the two unpatched runs, a `Batch` (changes) the patches of one layer that go on together. A `Tape` is what a run of
one block left behind, tensors by name.

Shapes, in this room:

    prompt    the prompts of the sweep                     pos, query, key   positions, from the run's `start` on
    cell      the patches of a batch                       W                 the positions that a patch changes directly
    row       cell × prompt, cells outside                 chosen            positions read, each row's own
    head      query heads; k and v have key/value heads    site_head         the heads that the site counts: for k and v
    group     z of the heads that share a site's head,                       groups of query heads, 1 without a head axis
              side by side                                 #                 1 or the axis' length

What is cut, and why the numbers stay the same, is said where it is cut.
"""
