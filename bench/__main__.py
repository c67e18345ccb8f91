"""`python -m bench`: the load generator's own process, started by the harness."""

from bench.load import main

if __name__ == "__main__":
    main()
