// The public address that callers know.
param location string
param name string

@description('First label of the public name, <label>.<region>.cloudapp.azure.com.')
param domainNameLabel string

resource publicIp 'Microsoft.Network/publicIPAddresses@2025-05-01' = {
  name: name
  location: location
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
    // Silence between caller and gateway is cut here: 4 minutes unless said, 30 at most. The relay's ping comes every
    // 25 s.
    idleTimeoutInMinutes: 30
    dnsSettings: {
      domainNameLabel: domainNameLabel
    }
  }
}

output ipAddress string = publicIp.properties.ipAddress
output fqdn string = publicIp.properties.dnsSettings.fqdn
