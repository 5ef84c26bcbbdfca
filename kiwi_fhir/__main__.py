"""`python -m kiwi_fhir` is `kiwi-fhir`."""

from kiwi_fhir.cli import main

if __name__ == "__main__":
    main()
