metadata description = 'The ACS resource that the broker exchanges tokens at, and a role there if it asks ACS in its own name.'

@description('Name of the ACS resource.')
param name string

@description('Object id of the identity.')
param principalId string

@description('Whether the managed identity asks ACS: for the assignments, or for tokens in identity and teams_user mode.')
param asksInOwnName bool

// Communication and Email Service Owner; Azure has no smaller role of its own for ACS. It can list the access keys, which is
// why it is given only where it is needed.
var ownerRole = '09976791-48a7-449e-bb21-39d1a415f350'

resource service 'Microsoft.Communication/communicationServices@2025-09-01' existing = {
  name: name
}

resource owner 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (asksInOwnName) {
  name: guid(service.id, principalId, ownerRole)
  scope: service
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', ownerRole)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

@description('Endpoint of the resource.')
output endpoint string = 'https://${service.properties.hostName}'
