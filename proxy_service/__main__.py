"""`python -m proxy_service`."""

import gc
import sys

if __name__ == "__main__":
    # What a start makes stays, and to walk it again and again takes a tenth of it; `main` begins to collect.
    gc.disable()
    from proxy_service.main import main

    sys.exit(main())
