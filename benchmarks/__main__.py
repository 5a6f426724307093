"""`python -m benchmarks`: the short form of every benchmark, one after the other."""

from benchmarks import commands

if __name__ == "__main__":
    commands.main()
