"""`python -m api_service` serves the API until told to stop."""

import gc
import sys

if __name__ == "__main__":
    gc.disable()  # what a start makes stays, and need not be walked; `main` has it collected again
    from api_service.main import main

    sys.exit(main())
