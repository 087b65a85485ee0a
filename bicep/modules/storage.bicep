// A share of Azure Files as the environment knows it. It mounts one by the account's key alone: that is read here and goes
// nowhere else, into no parameter and no output.
param environmentName string

param accountName string

@description('Resource group of the account.')
param accountResourceGroup string

@description('The share.')
param share string

@description('What the environment calls it.')
param storageName string

var accountId = resourceId(accountResourceGroup, 'Microsoft.Storage/storageAccounts', accountName)

resource managedEnvironment 'Microsoft.App/managedEnvironments@2026-01-01' existing = {
  name: environmentName
}

resource storage 'Microsoft.App/managedEnvironments/storages@2026-01-01' = {
  parent: managedEnvironment
  name: storageName
  properties: {
    azureFile: {
      accountName: accountName
      accountKey: listKeys(accountId, '2025-01-01').keys[0].value
      shareName: share
      accessMode: 'ReadOnly'
    }
  }
}
