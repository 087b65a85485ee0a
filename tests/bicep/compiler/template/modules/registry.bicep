// Where images come from. `az acr build` builds in it, so that a deployment needs no container engine.
param location string

@description('5 to 50 letters and digits, unique in all of Azure.')
param name string

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' = {
  name: name
  location: location
  sku: {
    // One small image and one reader. Premium would add a private endpoint and retention.
    name: 'Basic'
  }
  properties: {
    // No user and password at all: the app pulls by its identity (roles.bicep).
    adminUserEnabled: false
    policies: {
      // Pulls by identity are reported to fail where a policy has switched this off.
      azureADAuthenticationAsArmPolicy: {
        status: 'enabled'
      }
    }
  }
}

output name string = registry.name
output loginServer string = registry.properties.loginServer
