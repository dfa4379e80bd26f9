"""Forms that a network is lowered to, and solvers on them.

In: a question about a network (`protocol` for distances, `verify` for properties). Out: its answer
with a proof or a point. `relaxation` is the network's linear relaxation on a region, which
`search`, `verify` and `certificate` share; `scip` makes mixed-integer programs; `choose` takes a
solver by name.

Read `protocol`, `relaxation` and `search` first.
"""
