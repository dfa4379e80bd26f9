"""The network on a region as linear rows, and what they prove.

In: a network, certified pre-activation bounds and a region. Out: the network with its stable
neurons eliminated (`condensed`), as flat arrays (`arrays`) for compiled bounds (`kernels`); one
linear specification to be proven with them (`subproblem`), its bounds tightened (`tighten`),
cutting planes (`cuts`) and the linear programs of single nodes (`node_lp`). The search for
distances, the verification of properties and certificates all bound with these.

Read `condensed`, `kernels` and `subproblem` first.
"""
