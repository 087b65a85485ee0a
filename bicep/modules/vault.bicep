// The gateway's right to read its certificate and nothing else of the vault, in the vault's resource group. The vault has
// to use RBAC, and to let the gateway in: trusted Microsoft services where its network is closed.
param vaultName string

@description('The certificate, which Key Vault has as a secret too. Its versions, so every renewed one, are below it.')
param secretName string

@description('The gateway\'s identity.')
param principalId string

var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' existing = {
  parent: vault
  name: secretName
}

resource read 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: secret
  // Named after the principal and not its resource: this vault outlives a teardown, and the identity that comes after
  // it has another principal. An assignment of the same name could not be changed.
  name: guid(secret.id, principalId, secretsUser)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsUser)
  }
}
