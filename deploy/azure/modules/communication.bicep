metadata description = 'A new Azure Communication Services resource.'

@description('Name of the resource; it becomes part of its endpoint and is unique in the world.')
param name string

@description('Where ACS keeps data. It cannot be changed later.')
param dataLocation string

@description('Tags of the resource.')
param tags object

resource service 'Microsoft.Communication/communicationServices@2025-09-01' = {
  name: name
  // The only location there is; where data lies is said by dataLocation.
  location: 'global'
  tags: tags
  properties: {
    dataLocation: dataLocation
    // Access keys stay possible: identity mode signs with one, and so does the command that writes assignments.
    disableLocalAuth: false
  }
}

@description('Name of the resource.')
output name string = service.name
