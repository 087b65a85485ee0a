// Where the relay runs. Its ingress is an Envoy that cuts a socket after 240 s of silence; only premium ingress (an own
// workload profile of two nodes) raises that, to 30 minutes. The relay's ping comes every 25 s, so the default will do.
param location string
param name string

@description('A subnet delegated to Microsoft.App/environments, /27 or larger.')
param subnetId string

@description('Whether the environment has no public address.')
param internal bool

@description('Whether replicas are spread over zones. Fixed at creation, and refused in a region without zones.')
param zoneRedundant bool

@description('Workspace that gets the logs.')
param workspaceId string

@description('Whether the ingress writes a record of each call. Not every region may offer it.')
param httpLogs bool

resource environment 'Microsoft.App/managedEnvironments@2026-01-01' = {
  name: name
  location: location
  properties: {
    vnetConfiguration: {
      infrastructureSubnetId: subnetId
      internal: internal
    }
    publicNetworkAccess: internal ? 'Disabled' : 'Enabled'
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
    // Not log-analytics: that wants the workspace's key, and its tables have no record of what the ingress did.
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
    zoneRedundant: zoneRedundant
    // The gateway speaks TLS to the ingress; one app has no peers to hide from.
    peerTrafficConfiguration: {
      encryption: {
        enabled: false
      }
    }
    // No openTelemetryConfiguration: the managed agent is in no stable api-version before 2026-07-01. The agent is
    // switched on beside this template: az containerapp env telemetry app-insights set.
  }
}

// The newest version that the service has for them.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: environment
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        category: 'ContainerAppConsoleLogs'
        enabled: true
      }
      {
        category: 'ContainerAppSystemLogs'
        enabled: true
      }
    ]
  }
}

// ContainerAppHTTPLogs, one record a call with its replica, duration and the ingress's reason for its end, exists in
// diagnostic settings only. It keeps the query string: a key must never be in the URL. A setting of its own, because a
// region that does not know the category refuses the whole setting. After the other, which had it in earlier templates:
// no category goes to one workspace twice.
// The newest version that the service has for them.
#disable-next-line use-recent-api-versions
resource ingressLog 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (httpLogs) {
  scope: environment
  name: 'ingress'
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        category: 'ContainerAppHTTPLogs'
        enabled: true
      }
    ]
  }
  dependsOn: [
    diagnostics
  ]
}

output name string = environment.name
output defaultDomain string = environment.properties.defaultDomain
output staticIp string = environment.properties.staticIp
