"""Random probe networks: what a runtime is measured with, so that its cost model can be learnt."""
