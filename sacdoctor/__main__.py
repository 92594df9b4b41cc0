"""`python -m sacdoctor`."""

from sacdoctor.cli.main import main

if __name__ == "__main__":
    main()
