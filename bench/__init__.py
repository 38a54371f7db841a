"""The benchmarks behind script/bench: each figure beside a reference that was measured in the same run."""
