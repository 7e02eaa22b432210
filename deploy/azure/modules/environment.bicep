metadata description = 'The Container Apps environment, with the managed OpenTelemetry agent.'

@description('Name of the environment.')
param name string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

@description('Resource id of the subnet that the environment lives in; empty for none of your own.')
param infrastructureSubnetId string

@description('Whether the environment has no public address. It needs a subnet.')
param internal bool

@description('Whether replicas are spread over availability zones. It needs a subnet.')
param zoneRedundant bool

@description('Whether traffic within the environment is encrypted.')
param encryptPeerTraffic bool

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

@description('Connection string of Application Insights.')
@secure()
param connectionString string

@description('Whether the broker\'s log lines go to Application Insights too.')
param logsOverOtlp bool

@description('OTLP endpoint (gRPC) for metrics, empty for none.')
param metricsEndpoint string

@description('Headers for that endpoint.')
@secure()
param metricsHeaders object

// The first stable version of the API that knows openTelemetryConfiguration and appInsightsConfiguration.
resource environment 'Microsoft.App/managedEnvironments@2026-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
    vnetConfiguration: empty(infrastructureSubnetId)
      ? null
      : {
          infrastructureSubnetId: infrastructureSubnetId
          internal: internal
        }
    zoneRedundant: zoneRedundant
    peerTrafficConfiguration: {
      encryption: {
        enabled: encryptPeerTraffic
      }
    }
    // To where the diagnostic setting below says; the other way, "log-analytics", wants the workspace's key.
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
    appInsightsConfiguration: {
      connectionString: connectionString
    }
    openTelemetryConfiguration: {
      tracesConfiguration: {
        destinations: ['appInsights']
      }
      logsConfiguration: {
        destinations: logsOverOtlp ? ['appInsights'] : []
      }
      // Application Insights takes no metrics from the agent.
      metricsConfiguration: {
        destinations: empty(metricsEndpoint) ? [] : ['metrics']
      }
      destinationsConfiguration: {
        otlpConfigurations: empty(metricsEndpoint)
          ? []
          : [
              {
                name: 'metrics'
                endpoint: metricsEndpoint
                insecure: false
                headers: map(items(metricsHeaders), header => {
                  key: header.key
                  value: header.value
                })
              }
            ]
      }
    }
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'logs'
  scope: environment
  properties: {
    workspaceId: workspaceId
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

@description('Resource id.')
output id string = environment.id
