"""`python -m api_service` serves the API until told to stop."""

import sys

from api_service.main import main

sys.exit(main())
