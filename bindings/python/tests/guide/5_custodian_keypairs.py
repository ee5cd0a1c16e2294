from crypto.bip322_provider import BIP322Provider
import base64
provider = BIP322Provider()
# Generate keypair for Risk Lead
risk_priv, risk_pub = provider.generate_keypair()
print(f"Risk Lead private key: {base64.b64encode(risk_priv).decode()}")
print(f"Risk Lead public key: {base64.b64encode(risk_pub).decode()}")
# Generate keypair for Security Lead
sec_priv, sec_pub = provider.generate_keypair()
print(f"Security Lead private key: {base64.b64encode(sec_priv).decode()}")
print(f"Security Lead public key: {base64.b64encode(sec_pub).decode()}")
