metadata description = 'Lets the identity pull from a container registry.'

@description('Name of an existing Azure Container Registry.')
param registryName string

@description('Object id of the identity.')
param principalId string

// AcrPull
var pullRole = '7f951dda-4ed3-4680-a7ca-43fe172d538d'

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' existing = {
  name: registryName
}

resource pull 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, principalId, pullRole)
  scope: registry
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', pullRole)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

@description('Host name of the registry.')
output loginServer string = registry.properties.loginServer
