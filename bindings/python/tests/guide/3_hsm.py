from aegis_governance import HSMKEKProvider
provider = HSMKEKProvider.from_environment()
# Session pool size defaults to 4
