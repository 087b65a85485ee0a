// The model: an account that takes identities and no keys, and one deployment of a realtime model.
param location string

@description('Name of the account and its subdomain, unique in all of Azure.')
param name string

@description('Name of the deployment; what callers say as model=.')
param deploymentName string

param deploymentSku string
param modelName string
param modelVersion string
param capacity int

@description('Whether the account takes keys beside identities.')
param localAuth bool

@description('Workspace that hears who called the account.')
param workspaceId string

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' = {
  name: name
  location: location
  kind: 'OpenAI'
  sku: {
    name: 'S0'
  }
  properties: {
    // Tokens of Entra ID are taken on an account's own subdomain only. A deleted account keeps its name for 48 hours:
    // teardown.yml purges it.
    customSubDomainName: name
    disableLocalAuth: !localAuth
    // The relay comes from the environment's outbound address, which the platform may change: no list of addresses
    // here.
    publicNetworkAccess: 'Enabled'
  }
}

// One deployment. A second one has to wait for the first (dependsOn): parallel writes to one account conflict.
resource deployment 'Microsoft.CognitiveServices/accounts/deployments@2025-06-01' = {
  parent: account
  name: deploymentName
  sku: {
    name: deploymentSku
    capacity: capacity
  }
  properties: {
    model: {
      format: 'OpenAI'
      name: modelName
      version: modelVersion
    }
    // A version that retires is replaced rather than switched off; until then it is the one that was tested.
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}

// The newest version that the service has for them.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: account
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'Audit'
        enabled: true
      }
      {
        category: 'RequestResponse'
        enabled: true
      }
    ]
  }
}

output name string = account.name
output endpoint string = account.properties.endpoint
