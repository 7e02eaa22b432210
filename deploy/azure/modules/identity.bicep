metadata description = 'The identity that the broker runs with. It pulls the image, reads secrets, and stands for the broker at Entra and ACS.'

@description('Name of the identity.')
param name string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

// User-assigned, because a system-assigned one exists only once the app does, and the app cannot start before its identity
// may pull the image and read the secrets.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('Resource id.')
output id string = identity.id

@description('Client id, by which the broker asks for this identity.')
output clientId string = identity.properties.clientId

@description('Object id in Entra: of role assignments, and the subject of the federated credential.')
output principalId string = identity.properties.principalId
