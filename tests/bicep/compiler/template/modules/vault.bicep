// The gateway's right to read its certificate, in the vault's resource group. The vault has to use RBAC, and to let the
// gateway in: trusted Microsoft services where its network is closed.
param vaultName string

@description('The gateway\'s identity.')
param principalId string

var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource read 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  // Named after the principal and not its resource: this vault outlives a teardown, and the identity that comes after
  // it has another principal. An assignment of the same name could not be changed.
  name: guid(vault.id, principalId, secretsUser)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsUser)
  }
}
