// Who may do what, without a single key: the relay pulls its image and calls the model as one user-assigned identity.
// User-assigned, because it exists before the app: a system-assigned one could not pull the app's first image.
param location string
param identityName string
param gatewayIdentityName string
param registryName string
param accountName string

var acrPull = '7f951dda-4ed3-4680-a7ca-43fe172d538d'
var openAiUser = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' existing = {
  name: registryName
}

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' existing = {
  name: accountName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: identityName
  location: location
}

// Made whether there is a certificate yet or not: its role has to be known everywhere before a gateway first uses it.
resource gatewayIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: gatewayIdentityName
  location: location
}

// principalType in both: without it ARM looks the new identity up in Entra ID, which may not have heard of it yet.
resource pull 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: registry
  name: guid(registry.id, identity.id, acrPull)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', acrPull)
  }
}

resource call 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, identity.id, openAiUser)
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', openAiUser)
  }
}

output id string = identity.id
output clientId string = identity.properties.clientId
output principalId string = identity.properties.principalId
output gatewayPrincipalId string = gatewayIdentity.properties.principalId
