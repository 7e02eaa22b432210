metadata description = 'The few alerts that Azure alone can raise. Those of deploy/observability need the broker\'s metrics in a Prometheus.'

@description('Prefix of the names.')
param name string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Who is notified.')
param email string

@description('Resource id of the container app.')
param appId string

@description('Name of the container app.')
param appName string

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-people'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'acs-broker'
    enabled: true
    emailReceivers: [
      {
        name: 'operators'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource failures 'Microsoft.Insights/metricAlerts@2026-01-01' = {
  name: '${name}-failures'
  location: 'global'
  tags: tags
  properties: {
    description: 'More than 20 requests in 5 minutes ended with a 5xx, the broker\'s or the ingress\'s. See the runbook of AcsBrokerErrorBudgetBurn.'
    severity: 1
    enabled: true
    scopes: [appId]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'failures'
          metricNamespace: 'Microsoft.App/containerApps'
          metricName: 'Requests'
          dimensions: [
            {
              name: 'statusCodeCategory'
              operator: 'Include'
              values: ['5xx']
            }
          ]
          operator: 'GreaterThan'
          threshold: 20
          timeAggregation: 'Total'
        }
      ]
    }
    autoMitigate: true
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}

resource restarts 'Microsoft.Insights/metricAlerts@2026-01-01' = {
  name: '${name}-restarts'
  location: 'global'
  tags: tags
  properties: {
    description: 'A replica was started again more than three times. Its first lines in the console log say why; exit code 2 is a bad configuration.'
    severity: 2
    enabled: true
    scopes: [appId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'restarts'
          metricNamespace: 'Microsoft.App/containerApps'
          metricName: 'RestartCount'
          operator: 'GreaterThan'
          threshold: 3
          timeAggregation: 'Maximum'
        }
      ]
    }
    autoMitigate: true
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}

resource refused 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = {
  name: '${name}-credential-refused'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${name}: Azure refuses the broker\'s own credential'
    description: 'Callers get 502 UpstreamRejectedBroker. The log line says what was refused and why. See the runbook of AcsBrokerCredentialRefused.'
    severity: 1
    enabled: true
    scopes: [workspaceId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    criteria: {
      allOf: [
        {
          query: 'ContainerAppConsoleLogs | where ContainerAppName == \'${appName}\' | where Log has \'UpstreamRejectedBroker\''
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: true
    // The table comes to be with the first line, after this deployment.
    skipQueryValidation: true
    actions: {
      actionGroups: [people.id]
    }
  }
}
