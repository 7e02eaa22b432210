"""What differs between the emulator (the defaults: `acs-token-broker dev --tls`) and Azure."""

import os

BROKER = os.environ.get("BROKER", "https://localhost:8080")
AUTHORITY = os.environ.get("AUTHORITY", "https://localhost:8090/organizations")
CLIENT_ID = os.environ.get("CLIENT_ID", "c0a5a990-0000-4000-8000-000000000003")
SCOPE = os.environ.get("SCOPE", "https://communication.azure.com/clients/VoIP")
# Microsoft's list of hosts does not have the emulator's.
EMULATED = AUTHORITY.startswith("https://localhost")
