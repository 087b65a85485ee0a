// The whole relay on Azure, in two passes of one template. Pass 1 (containerImage empty) makes what an image needs
// before it can exist and run: registry, model, identity with its roles, logs, and what pass 2 is told of them. Pass 2
// adds network, environment, gateway and app. Roles granted in pass 1 are minutes old when the first replica pulls its
// image: no race with their replication.
targetScope = 'resourceGroup'

import { setting, weight } from 'types.bicep'

@description('Region of everything but the model.')
param location string = resourceGroup().location

// Fewer regions offer a realtime model than have users near them; the way between the two adds to every answer.
@description('Region of the model.')
param openAiLocation string = location

@description('Begins every name and is the app\'s: lower-case letters, digits, single dashes, a letter first.')
@minLength(3)
@maxLength(20)
param prefix string

@description('Name of the model deployment; what callers say as model=.')
param openAiDeploymentName string = 'gpt-realtime'

@description('Where the model runs: GlobalStandard is offered in the most regions.')
param openAiDeploymentSku string = 'GlobalStandard'

// Generally available since 2026-09-21 and what gpt-realtime is to be replaced by, at the price, in the regions and in
// the units of quota of gpt-realtime-1.5. That one retires later and is what to take where calls rely on `truncation`.
@description('Model behind the deployment. Models retire: look at the retirement table before you deploy.')
param openAiModelName string = 'gpt-realtime-2.1'

@description('Version of the model.')
param openAiModelVersion string = '2026-07-07'

// A call that nobody prunes is at 33,000 tokens a minute after half an hour: 10 units carry three such calls, a thousand
// calls take hundreds of units. maxReplicas times maxSessions above what the quota carries only moves the refusal.
@description('Capacity of the model deployment, in units of 10,000 tokens and 20 requests a minute.')
@minValue(1)
param openAiCapacity int = 10

@description('Image of the relay. Empty: the first pass, without network, environment, gateway and app.')
param containerImage string = ''

// Known when the first pass is over, and handed in: a property of the app that reads another resource is a text to
// what-if and to the service's check before a deployment, which wants a list there.
@description('Client id of the relay\'s identity, an output of the first pass. The second pass needs it.')
param identityClientId string = ''

@description('Principal of that identity. Needed with clientKeysSecretUri.')
param identityPrincipalId string = ''

@description('Principal of the gateway\'s identity. Needed with certificateId.')
param gatewayPrincipalId string = ''

@description('Public address of the gateway, an output of the first pass. The second needs it with internal false.')
param publicIpAddress string = ''

@description('Names the revision, <app>--<suffix>. Empty: the platform does.')
param revisionSuffix string = ''

// Weights have one owner, the plays: they hand in what they find, so that a redeploy never undoes a rollout.
@description('Traffic of the app as the platform has it now. Empty: everything to the latest revision.')
param traffic weight[] = []

@description('Who may call: name:key pairs, comma separated.')
@secure()
param clientKeys string = ''

// Their role at the secret is granted in a first pass, because one is not known everywhere at once.
@description('Secret id, https://VAULT.vault.azure.net/secrets/NAME, of such pairs in Key Vault. They are mounted as a file.')
param clientKeysSecretUri string = ''

@description('Resource group of that vault.')
param clientKeysVaultResourceGroup string = resourceGroup().name

// The platform refuses to take a secret away that an active revision mounts, and a deployment makes the next one only.
@description('The clientKeysSecretUri that the app has, kept where none is given: revisions may mount it.')
param standingSecretUri string = ''

// The relay reads the file again while it runs: a key that is taken out of it ends its calls, without a rollout.
@description('Storage account with a share that has such pairs in its file client-keys, mounted in the place of a secret. Empty: none.')
param clientKeysStorageAccount string = ''

@description('That share.')
param clientKeysShare string = 'client-keys'

@description('Resource group of that account.')
param clientKeysStorageResourceGroup string = resourceGroup().name

@description('More settings of the relay, a name and a value each, such as RTPROXY_OIDC_ISSUER. No secrets.')
param relaySettings setting[] = []

@description('Key of a model account. Empty (the default): the relay identifies itself and the account takes no keys.')
@secure()
param openAiApiKey string = ''

// Two, because the platform stops replicas for its own maintenance, one at a time and without asking.
@description('Replicas of a revision at least. 0 is never reached behind the gateway: its probe is a request.')
@minValue(0)
@maxValue(1000)
param minReplicas int = 2

@description('Replicas of a revision at most.')
@minValue(1)
@maxValue(1000)
param maxReplicas int = 10

// 15 at least: a quarter of the drain is the time in which callers are still let in, and readiness takes 2 s to fail.
@description('Seconds from SIGTERM to SIGKILL. 30 is the platform\'s default; 600 is the most in use, undocumented.')
@minValue(15)
@maxValue(600)
param terminationGracePeriodSeconds int = 30

// Each client has three quarters of these: one key alone still works, and no key takes the last place.
@description('Calls of a replica at most.')
@minValue(2)
@maxValue(1000000)
param maxSessions int = 1000

@description('Seconds without a request before the last step to zero replicas. Governs nothing else.')
param cooldownPeriod int = 300

@description('Multiple: weights between revisions. Single: session affinity. The platform has no mode with both.')
@allowed([
  'Multiple'
  'Single'
])
param activeRevisionsMode string = 'Multiple'

// As https://<vault>.vault.azure.net/secrets/<name>: with a version at its end a renewed certificate would not be
// found.
@description('Secret id, without a version, of the gateway\'s certificate in Key Vault. Empty: plain HTTP.')
param certificateId string = ''

@description('Resource group of that vault.')
param tlsVaultResourceGroup string = resourceGroup().name

@description('Web application firewall on the gateway. It sees the upgrade request, never a frame.')
param waf bool = false

// A rule of the network and no part of the gateway: another address updates no gateway, which would end calls.
@description('Addresses, ranges too, that rollouts come from: nobody else reaches a revision\'s own address.')
param rolloutAddresses string[] = []

// An update of a gateway ends its open calls. So the plays say false where the gateway is as this template has it.
@description('Whether the gateway is deployed too. false leaves the one that stands alone.')
param updateGateway bool = true

// A rollout writes the app too, and what this template says in other words than the rollout the service takes for a change
// of a revision, which it refuses. So the plays say false where nothing of the app differs.
@description('Whether the app is deployed too. false leaves the one that stands alone.')
param updateApp bool = true

// The environment keeps this, its network and its region for ever: another one takes another environment.
@description('Whether the environment\'s replicas are spread over zones. Refused in a region without any.')
param zoneRedundant bool = false

@description('Address space of the network, /23 or larger: a /24 for the gateway, and the next for the environment.')
param addressPrefix string = '10.60.0.0/23'

// One instance holds 30,000 sockets, 13,500 with TLS. Two, because maintenance drains one for 5 minutes at most and then
// ends what is left on it.
@description('Instances of the gateway at least, of ten at most.')
@minValue(0)
@maxValue(10)
param gatewayMinCapacity int = 2

@description('Whether the environment has no public address, so that only the gateway reaches it.')
param internal bool = true

@description('Whether the ingress writes a record of each call, ContainerAppHTTPLogs. false where the region refuses it.')
param httpLogs bool = true

var complete = !empty(containerImage)
var tls = !empty(certificateId)
var keyed = !empty(openAiApiKey)
var sharedKeys = !empty(clientKeysStorageAccount)
// Nothing of a storage can change but the account's key, and revisions that run mount the one that they began with.
var keysStorage = sharedKeys
  ? 'client-keys-${uniqueString(clientKeysStorageResourceGroup, clientKeysStorageAccount, clientKeysShare)}'
  : ''

// Modules get names and ids that are known beforehand, and look the rest up themselves. A parameter out of another
// module's outputs would keep what-if from looking into the module at all: it would show no change where there is
// one.
var workspaceName = '${prefix}-logs'
var workspaceId = resourceId('Microsoft.OperationalInsights/workspaces', workspaceName)
var registryName = '${replace(prefix, '-', '')}${uniqueString(resourceGroup().id)}'
var accountName = '${prefix}-${uniqueString(resourceGroup().id)}'
var identityName = '${prefix}-identity'
var gatewayIdentityName = '${prefix}-gateway-identity'
var networkName = '${prefix}-vnet'
var networkId = resourceId('Microsoft.Network/virtualNetworks', networkName)
var publicIpName = '${prefix}-gateway-ip'
// Of the gateway: the way to each revision's own address, beside the one of callers.
var revisionsPort = 8443
var environmentName = '${prefix}-env'

module monitor 'modules/monitor.bicep' = {
  name: '${prefix}-monitor'
  params: {
    location: location
    prefix: prefix
    workspaceName: workspaceName
  }
}

module registry 'modules/registry.bicep' = {
  name: '${prefix}-registry'
  params: {
    location: location
    name: registryName
  }
}

module openai 'modules/openai.bicep' = {
  name: '${prefix}-openai'
  params: {
    location: openAiLocation
    name: accountName
    deploymentName: openAiDeploymentName
    deploymentSku: openAiDeploymentSku
    modelName: openAiModelName
    modelVersion: openAiModelVersion
    capacity: openAiCapacity
    localAuth: keyed
    workspaceId: workspaceId
  }
  dependsOn: [
    monitor
  ]
}

module roles 'modules/roles.bicep' = {
  name: '${prefix}-roles'
  params: {
    location: location
    identityName: identityName
    gatewayIdentityName: gatewayIdentityName
    registryName: registryName
    accountName: accountName
  }
  dependsOn: [
    registry
    openai
  ]
}

// Both in the first pass too, as soon as the identities are there. Principals are handed in, because they name a role
// assignment, and what-if does not look into a module whose parameter is known after a deployment only.
module vault 'modules/vault.bicep' = if (tls && !empty(gatewayPrincipalId)) {
  name: '${prefix}-vault'
  scope: resourceGroup(tlsVaultResourceGroup)
  params: {
    secretUri: certificateId
    principalId: gatewayPrincipalId
  }
  dependsOn: [
    roles
  ]
}

module clientKeysVault 'modules/vault.bicep' = if (!empty(clientKeysSecretUri) && !empty(identityPrincipalId)) {
  name: '${prefix}-client-keys-vault'
  scope: resourceGroup(clientKeysVaultResourceGroup)
  params: {
    secretUri: clientKeysSecretUri
    principalId: identityPrincipalId
  }
  dependsOn: [
    roles
  ]
}

// In the first pass too where the app names the address.
module address 'modules/address.bicep' = if (complete || !internal) {
  name: '${prefix}-address'
  params: {
    location: location
    name: publicIpName
    domainNameLabel: accountName
  }
}

module network 'modules/network.bicep' = if (complete) {
  name: '${prefix}-network'
  params: {
    location: location
    prefix: prefix
    networkName: networkName
    addressPrefix: addressPrefix
    tls: tls
    revisionsPort: revisionsPort
    rolloutAddresses: rolloutAddresses
  }
}

module environment 'modules/environment.bicep' = if (complete) {
  name: '${prefix}-environment'
  params: {
    location: location
    name: environmentName
    subnetId: '${networkId}/subnets/environment'
    internal: internal
    zoneRedundant: zoneRedundant
    workspaceId: workspaceId
    httpLogs: httpLogs
  }
  dependsOn: [
    monitor
    network
  ]
}

module storage 'modules/storage.bicep' = if (complete && sharedKeys) {
  name: '${prefix}-storage'
  params: {
    environmentName: environmentName
    accountName: clientKeysStorageAccount
    accountResourceGroup: clientKeysStorageResourceGroup
    share: clientKeysShare
    storageName: keysStorage
  }
  dependsOn: [
    environment
  ]
}

module dns 'modules/dns.bicep' = if (complete && internal) {
  name: '${prefix}-dns'
  params: {
    // A zone is called as the environment's domain, which the platform makes up: what-if leaves this module out.
    #disable-next-line what-if-short-circuiting
    domain: environment!.outputs.defaultDomain
    address: environment!.outputs.staticIp
    networkId: networkId
  }
}

module app 'modules/app.bicep' = if (complete && updateApp) {
  name: '${prefix}-app'
  params: {
    location: location
    name: prefix
    environmentName: environmentName
    internal: internal
    publicIpAddress: publicIpAddress
    identityName: identityName
    identityClientId: identityClientId
    registryName: registryName
    image: containerImage
    revisionSuffix: revisionSuffix
    traffic: traffic
    activeRevisionsMode: activeRevisionsMode
    accountName: accountName
    modelDeployment: openAiDeploymentName
    keyed: keyed
    modelKey: openAiApiKey
    withKeys: !empty(clientKeys)
    clientKeys: clientKeys
    clientKeysSecretUri: clientKeysSecretUri
    standingSecretUri: standingSecretUri
    keysStorage: keysStorage
    minReplicas: minReplicas
    maxReplicas: maxReplicas
    terminationGracePeriodSeconds: terminationGracePeriodSeconds
    cooldownPeriod: cooldownPeriod
    maxSessions: maxSessions
    relaySettings: relaySettings
  }
  dependsOn: [
    roles
    environment
    clientKeysVault
    storage
  ]
}

module gateway 'modules/gateway.bicep' = if (complete && updateGateway) {
  name: '${prefix}-gateway'
  params: {
    location: location
    name: '${prefix}-gateway'
    subnetId: '${networkId}/subnets/gateway'
    publicIpId: resourceId('Microsoft.Network/publicIPAddresses', publicIpName)
    appName: prefix
    environmentName: environmentName
    identityId: resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', gatewayIdentityName)
    certificateId: certificateId
    waf: waf
    minCapacity: gatewayMinCapacity
    revisionsPort: revisionsPort
    workspaceId: workspaceId
  }
  // A gateway resolves its backend when it starts and may keep a wrong answer for days, whatever the TTL
  // (azure-container-apps #498): the zone is there before it. So is its right to read the certificate.
  dependsOn: [
    address
    app
    dns
    vault
  ]
}

var scheme = tls ? 'https' : 'http'

@description('Name of the registry.')
output containerRegistryName string = registry.outputs.name

@description('Host that images are pushed to and pulled from.')
output containerRegistryLoginServer string = registry.outputs.loginServer

@description('What the relay dials.')
output azureOpenAiEndpoint string = openai.outputs.endpoint

@description('What the second pass is given as identityClientId.')
output identityClientId string = roles.outputs.clientId

@description('Name of the app; empty after the first pass, as everything below but the address.')
output containerAppName string = complete ? prefix : ''

@description('The app\'s own address in the environment. With internal only the network resolves it.')
output containerAppFqdn string = complete ? '${prefix}.${environment!.outputs.defaultDomain}' : ''

@description('Public address of the gateway; with internal false the second pass is given it as publicIpAddress.')
output applicationGatewayPublicIp string = complete || !internal ? address!.outputs.ipAddress : ''

@description('Public name of the gateway.')
output applicationGatewayFqdn string = complete ? address!.outputs.fqdn : ''

@description('What callers use, unless your own domain points at the gateway.')
output applicationGatewayUrl string = complete ? '${scheme}://${address!.outputs.fqdn}' : ''

@description('Port of the gateway at which a rollout finds the revisions\' own addresses.')
output revisionsPort int = revisionsPort

@description('Name of the environment.')
output containerAppEnvironmentName string = complete ? environment!.outputs.name : ''

@description('Customer id of the workspace, as az monitor log-analytics query wants it.')
output logAnalyticsWorkspaceId string = monitor.outputs.customerId

@description('Name of the Application Insights resource.')
output applicationInsightsName string = monitor.outputs.insightsName

@description('What was asked for and is deployed, and should be known.')
output warnings string[] = concat(
  (complete && !tls)
    ? [
        'The gateway speaks plain HTTP: keys and voices cross the network in the clear. Set certificateId before anybody calls.'
      ]
    : [],
  (complete && tls)
    ? [
        'Callers need a name that the certificate carries: point your own domain at ${address!.outputs.fqdn}.'
      ]
    : [],
  (complete && !httpLogs)
    ? [
        'The ingress writes no record of calls: httpLogs is false, which stays until it is set to true.'
      ]
    : [],
  (complete && !internal)
    ? [
        'The environment has a public address. Only the gateway\'s address may call the app, but everybody can knock.'
      ]
    : [],
  (complete && empty(rolloutAddresses))
    ? [
        'No address reaches the revisions\' own addresses: a rollout works from inside the network only.'
      ]
    : [],
  (minReplicas < 2)
    ? [
        'With fewer than two replicas the platform\'s own maintenance can leave callers without any.'
      ]
    : [],
  keyed
    ? [
        'The model account takes keys. Without openAiApiKey it takes the relay\'s identity only.'
      ]
    : []
)
