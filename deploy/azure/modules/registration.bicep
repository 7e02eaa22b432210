metadata description = 'The broker\'s own registration, by its names alone, so that its client id is known to what comes after.'

extension microsoftGraphV1

@description('What distinguishes the registration, also from one deployment to the next.')
param uniqueName string

@description('Name for people.')
param displayName string

@description('Who can sign in.')
param signInAudience string

resource registration 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: signInAudience
}

@description('Client id.')
output appId string = registration.appId
