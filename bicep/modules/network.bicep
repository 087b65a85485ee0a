// One network: the gateway's subnet and the environment's subnet.
param location string
param prefix string
param networkName string

@description('Address space, /23 or larger. It cannot change once the environment is in its subnet.')
param addressPrefix string

@description('Whether callers come on 443 as well as on 80.')
param tls bool

@description('Port of the gateway that leads to revisions.')
param revisionsPort int

@description('Who may come to that port: addresses and ranges. Empty: nobody.')
param rolloutAddresses string[]

// The gateway cannot ask who comes unless it has a firewall. This can, and to change it is no update of the gateway.
var rollouts = empty(rolloutAddresses)
  ? []
  : [
      {
        name: 'rollouts'
        properties: {
          priority: 105
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefixes: rolloutAddresses
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: string(revisionsPort)
        }
      }
    ]
var gatewayPrefix = cidrSubnet(addressPrefix, 24, 0)
// /27 is the platform's minimum, and 70 replicas. A subnet cannot grow once the environment is in it, and a rollout
// has both revisions' replicas in it.
var environmentPrefix = cidrSubnet(addressPrefix, 24, 1)

resource gatewayRules 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: '${prefix}-gateway-nsg'
  location: location
  properties: {
    securityRules: concat(
      [
        {
          name: 'calls'
          properties: {
            priority: 100
            direction: 'Inbound'
            access: 'Allow'
            protocol: 'Tcp'
            sourceAddressPrefix: 'Internet'
            sourcePortRange: '*'
            destinationAddressPrefix: '*'
            destinationPortRanges: tls
              ? [
                  '80'
                  '443'
                ]
              : [
                  '80'
                ]
          }
        }
        {
          // Without it the gateway cannot be configured, and its backends stay "unknown".
          name: 'gateway-manager'
          properties: {
            priority: 110
            direction: 'Inbound'
            access: 'Allow'
            protocol: 'Tcp'
            sourceAddressPrefix: 'GatewayManager'
            sourcePortRange: '*'
            destinationAddressPrefix: '*'
            destinationPortRange: '65200-65535'
          }
        }
        {
          name: 'load-balancer'
          properties: {
            priority: 120
            direction: 'Inbound'
            access: 'Allow'
            protocol: '*'
            sourceAddressPrefix: 'AzureLoadBalancer'
            sourcePortRange: '*'
            destinationAddressPrefix: '*'
            destinationPortRange: '*'
          }
        }
      ],
      rollouts
    )
  }
}

resource environmentRules 'Microsoft.Network/networkSecurityGroups@2025-05-01' = {
  name: '${prefix}-env-nsg'
  location: location
  properties: {
    securityRules: [
      {
        // The ingress listens on 443, behind its load balancer on 31443. An environment with a public address is called
        // past this subnet: no rule here reaches that.
        name: 'gateway'
        properties: {
          priority: 100
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: gatewayPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRanges: [
            '443'
            '31443'
          ]
        }
      }
      {
        name: 'itself'
        properties: {
          priority: 110
          direction: 'Inbound'
          access: 'Allow'
          protocol: '*'
          sourceAddressPrefix: environmentPrefix
          sourcePortRange: '*'
          destinationAddressPrefix: environmentPrefix
          destinationPortRange: '*'
        }
      }
      {
        name: 'load-balancer'
        properties: {
          priority: 120
          direction: 'Inbound'
          access: 'Allow'
          protocol: 'Tcp'
          sourceAddressPrefix: 'AzureLoadBalancer'
          sourcePortRange: '*'
          destinationAddressPrefix: environmentPrefix
          destinationPortRange: '30000-32767'
        }
      }
      {
        // The default rules let the whole network in: whatever joins it later calls past the gateway.
        name: 'nobody-else'
        properties: {
          priority: 4096
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

// Subnets inline: as child resources they are written in parallel, which conflicts.
resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: networkName
  location: location
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressPrefix
      ]
    }
    subnets: [
      {
        name: 'gateway'
        properties: {
          addressPrefix: gatewayPrefix
          networkSecurityGroup: {
            id: gatewayRules.id
          }
        }
      }
      {
        name: 'environment'
        properties: {
          addressPrefix: environmentPrefix
          networkSecurityGroup: {
            id: environmentRules.id
          }
          delegations: [
            {
              name: 'environment'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
    ]
  }
}
