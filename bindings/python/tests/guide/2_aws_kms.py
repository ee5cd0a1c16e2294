from aegis_governance import AWSKMSKEKProvider
# From environment variables (recommended)
provider = AWSKMSKEKProvider.from_environment()
# Or from explicit parameters
provider = AWSKMSKEKProvider(
kms_key_id="arn:aws:kms:us-west-2:123456789012:key/...",
wrapped_private_key=wrapped_bytes,
public_key_bytes=public_bytes,
)
