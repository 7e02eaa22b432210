metadata description = 'Where logs and traces are kept.'

@description('Prefix of the names.')
param name string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('How long logs and traces are kept.')
param retentionDays int

@description('Most that is taken in a day, in GB; what comes after it is lost. -1 for no bound.')
param dailyQuotaGb int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: '${name}-logs'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    workspaceCapping: {
      dailyQuotaGb: dailyQuotaGb
    }
    features: {
      // Those who may read the app may read its logs; nobody else, unless they have a role on the workspace.
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    // The agent of Container Apps signs in with the connection string alone.
    DisableLocalAuth: false
  }
}

@description('Resource id of the Log Analytics workspace.')
output workspaceId string = workspace.id

@description('Name of the Log Analytics workspace.')
output workspaceName string = workspace.name

@description('Where the agent sends traces and logs. It can write telemetry and nothing else.')
@secure()
output connectionString string = insights.properties.ConnectionString
