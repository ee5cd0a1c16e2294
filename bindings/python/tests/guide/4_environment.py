from crypto.kek_provider import EnvironmentKEKProvider
provider = EnvironmentKEKProvider()
