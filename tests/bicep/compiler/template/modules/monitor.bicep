// What the relay says, made readable: a workspace, two tables out of its JSON lines, a workbook over them, an alert.
param location string
param prefix string
param workspaceName string

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: workspaceName
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 30
  }
}

// Gets nothing until somebody points telemetry at it: the environment's managed OpenTelemetry agent takes it as a
// destination for traces and logs (not metrics), and wants its local authentication left on.
resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${prefix}-insights'
  location: location
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    IngestionMode: 'LogAnalytics'
  }
}

// etag '*': a saved function is overwritten, whoever saved it last. Without it a second deployment is a conflict.
resource events 'Microsoft.OperationalInsights/workspaces/savedSearches@2025-02-01' = {
  parent: workspace
  name: 'rtproxy-events'
  etag: '*'
  properties: {
    category: 'rtproxy'
    displayName: 'Events of the relay'
    functionAlias: 'RtproxyEvents'
    query: loadTextContent('../queries/RtproxyEvents.kql')
    version: 2
  }
}

resource calls 'Microsoft.OperationalInsights/workspaces/savedSearches@2025-02-01' = {
  parent: workspace
  name: 'rtproxy-calls'
  etag: '*'
  properties: {
    category: 'rtproxy'
    displayName: 'Calls that ended, one row each'
    functionAlias: 'RtproxyCalls'
    query: loadTextContent('../queries/RtproxyCalls.kql')
    version: 2
  }
  dependsOn: [
    events
  ]
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, prefix, 'workbook')
  location: location
  kind: 'shared'
  properties: {
    category: 'workbook'
    displayName: '${prefix} calls'
    sourceId: workspace.id
    version: '1.0'
    serializedData: replace(loadTextContent('../workbook.json'), 'WORKSPACE_ID', workspace.id)
  }
}

// No action group: whom to wake is not this template's to know. The alert shows in the portal, per revision; give it
// an action group there, or an alert processing rule.
resource cuts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = {
  name: '${prefix}-calls-cut'
  location: location
  kind: 'LogAlert'
  properties: {
    displayName: '${prefix}: calls cut'
    description: 'The relay ended calls: an error, an unanswered ping, a limit, or a drain in the middle of a turn.'
    severity: 2
    enabled: true
    autoMitigate: true
    scopes: [
      workspace.id
    ]
    evaluationFrequency: 'PT5M'
    // Three times as long as the frequency: lines arrive minutes late.
    windowSize: 'PT15M'
    criteria: {
      allOf: [
        {
          query: 'RtproxyCalls | where Cut'
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: [
            {
              name: 'Revision'
              operator: 'Include'
              values: [
                '*'
              ]
            }
          ]
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    // A new workspace may not know the function yet when it is asked to validate the query.
    skipQueryValidation: true
  }
  dependsOn: [
    calls
  ]
}

output customerId string = workspace.properties.customerId
output insightsName string = insights.name
