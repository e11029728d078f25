"""Diagnosis of a model and its data before anything is pruned: what usually goes wrong, a finding each."""
