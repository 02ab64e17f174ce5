"""The rooms joined: what each stage is given, whether it must run again, and the whole run.

collect (subject and corpus -> store), merge, check; workspace (what stages work with), stages (run one), run (all of
them), demo; journal: what an interrupted stage has done so far.
"""
