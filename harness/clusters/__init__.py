"""Workers on other machines: so many identical processes, each of which calls one function with the path of a plan.

What the function does with the plan, and what a job is, is nobody's business here. Workers need nothing of each other and nothing of whoever
started them: they may come late, die, and be started again.
"""
