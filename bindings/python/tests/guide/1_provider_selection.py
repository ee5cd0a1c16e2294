from aegis_governance import get_kek_provider
# Auto-detect (tries KMS -> HSM -> Environment -> In-Memory)
provider = get_kek_provider()
# Force a specific provider
provider = get_kek_provider("kms")
provider = get_kek_provider("hsm")
provider = get_kek_provider("environment")
provider = get_kek_provider("in_memory")
