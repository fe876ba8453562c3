"""`python -m proxy_service`."""

import sys

from proxy_service.main import main

if __name__ == "__main__":
    sys.exit(main())
