// The right to read one secret and nothing else of a vault, in the vault's resource group: the gateway's to its
// certificate, the relay's to its clients' keys. The vault has to use RBAC, and to let them in where its network is closed:
// trusted Microsoft services.

// As https://<vault>.vault.azure.net/secrets/<name>: the vault is the host's first label.
@description('Id of the secret. Its versions, so every renewed one, are below it.')
param secretUri string

@description('The identity that reads it.')
param principalId string

var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: first(split(split(secretUri, '/')[2], '.'))
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' existing = {
  parent: vault
  name: split(secretUri, '/')[4]
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
