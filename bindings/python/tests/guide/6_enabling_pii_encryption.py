from telemetry.encryption import create_pii_enricher
from telemetry.pipeline import TelemetryPipeline
from aegis_governance import get_kek_provider
# Set up KEK provider and get public key
kek = get_kek_provider()
public_key = kek.get_public_key()
# Create PII encryption enricher
enricher = create_pii_enricher(
public_key=public_key,
dek_version="dek-v1-20260101",
)
# Wire into telemetry pipeline
pipeline = TelemetryPipeline()
pipeline.add_enricher(enricher)
