"""`python -m neurolocal`: the command line."""

from neurolocal.cli import main

if __name__ == "__main__":
    main()
