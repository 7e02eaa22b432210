metadata description = 'The registrations in Entra. It follows docs/entra-setup.md; the steps are named.'

targetScope = 'resourceGroup'

extension microsoftGraphV1

@description('What the broker is sent and sends on; the same as in main.bicepparam.')
@allowed(['passthrough', 'on_behalf_of', 'identity', 'teams_user'])
param mode string = 'passthrough'

@description('Prefix of the names; the same as in main.bicepparam, since the managed identity is named after it.')
@minLength(2)
@maxLength(24)
param name string = 'acs-token-broker'

@description('Region of the managed identity; the same as in main.bicepparam.')
param location string = resourceGroup().location

@description('Tags of the managed identity.')
param tags object = {}

@description('Client id of the front end\'s registration, if there is one already; empty to have one made.')
param frontEndClientId string = ''

@description('Name of the front end that users see when they consent.')
param frontEndDisplayName string = 'Contoso calling'

@description('Addresses that the front end, a page in the browser, is redirected to after sign-in.')
param frontEndRedirectUris string[] = []

@description('Name of the broker\'s API that users see when they consent.')
param brokerDisplayName string = 'Contoso calling tokens'

@description('Whether users of other tenants can sign in.')
param multitenant bool = true

@description('Permissions at Azure Communication Services Clients.')
@minLength(1)
param communicationScopes ('VoIP' | 'VoIP.Join')[] = ['VoIP', 'VoIP.Join']

@description('Permissions at Azure Communication Services, the API for Teams, in teams_user mode.')
@minLength(1)
param teamsScopes ('Teams.ManageCalls' | 'Teams.ManageChats')[] = ['Teams.ManageCalls']

@description('Groups that Entra puts into tokens for the broker: all security groups of a user, those assigned to the application, or none.')
@allowed(['SecurityGroup', 'ApplicationGroup', 'None'])
param groupsClaim string = 'SecurityGroup'

@description('Whether the broker asks Microsoft Graph for groups: unknownGroups is graph.')
param groupsFromGraph bool = false

@description('Whether consent is given for this tenant. It takes more rights than registering does.')
param grantAdminConsent bool = true

@description('Object id of the managed identity, where somebody else makes it; empty to have it made here.')
param managedIdentityPrincipalId string = ''

var isOnBehalfOf = mode == 'on_behalf_of'
var isIdentity = mode == 'identity'
var isTeamsUser = mode == 'teams_user'
// The token that users bring is for an API of Microsoft's, or for the broker's own.
var hasOwnApi = isOnBehalfOf || isIdentity
var needsCommunication = !isIdentity
var needsBroker = hasOwnApi || groupsFromGraph
var needsCredential = isOnBehalfOf || groupsFromGraph
var makesFrontEnd = empty(frontEndClientId)
var signInAudience = multitenant ? 'AzureADMultipleOrgs' : 'AzureADMyOrg'

var brokerName = '${name}-api'
// The id of the scope is ours to choose; it must not change.
var accessScopeId = guid(tenant().tenantId, brokerName, 'access')
var loginEndpoint = environment().authentication.loginEndpoint

var communicationClientsId = '2a04943b-b6a7-4f65-8786-2bb6131b59f6'
var communicationTeamsId = '1fd5118e-2576-4263-8130-9503064c837a'
// Which of the two users' tokens are for, and what they may do there.
var communicationApiId = isTeamsUser ? communicationTeamsId : communicationClientsId
var communicationApiUri = isTeamsUser
  ? 'https://auth.msft.communication.azure.com'
  : 'https://communication.azure.com/clients'
var communicationApiScopes = isTeamsUser ? teamsScopes : communicationScopes
var graphId = '00000003-0000-0000-c000-000000000000'

// ---- Passthrough and Teams users, step 1: the service principal of ACS's API. One that is there is taken.

resource communicationApi 'Microsoft.Graph/servicePrincipals@v1.0' = if (needsCommunication) {
  appId: communicationApiId
}

// Its permissions have ids that only the service principal has.
var communicationPermissions = !needsCommunication
  ? []
  : map(
      filter(communicationApi!.oauth2PermissionScopes, each => contains(communicationApiScopes, each.value)),
      each => {
        id: each.id
        type: 'Scope'
      }
    )

var communicationAccess = [
  {
    resourceAppId: communicationApiId
    resourceAccess: communicationPermissions
  }
]

// ---- The broker's own API, step 1. Its client id comes first: the front end names it, and it names the front end.

module registration 'modules/registration.bicep' = if (needsBroker) {
  name: '${name}-registration'
  params: {
    uniqueName: brokerName
    displayName: brokerDisplayName
    signInAudience: signInAudience
  }
}

var brokerClientId = needsBroker ? registration!.outputs.appId : ''

// ---- Passthrough, steps 2 and 3; Teams users, step 2; the broker's own API, step 2, the front end's part.

var brokerAccess = [
  {
    resourceAppId: brokerClientId
    resourceAccess: [
      {
        id: accessScopeId
        type: 'Scope'
      }
    ]
  }
]

resource frontEnd 'Microsoft.Graph/applications@v1.0' = if (makesFrontEnd) {
  uniqueName: '${name}-front-end'
  displayName: frontEndDisplayName
  signInAudience: signInAudience
  spa: {
    redirectUris: frontEndRedirectUris
  }
  requiredResourceAccess: hasOwnApi ? brokerAccess : communicationAccess
}

resource frontEndPrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = if (makesFrontEnd) {
  appId: frontEnd!.appId
}

resource frontEndConsent 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = if (makesFrontEnd && !hasOwnApi && grantAdminConsent) {
  clientId: frontEndPrincipal!.id
  resourceId: communicationApi!.id
  consentType: 'AllPrincipals'
  scope: join(communicationApiScopes, ' ')
}

// ---- The broker's own API, steps 1 to 4.

var graphRoles = !groupsFromGraph
  ? []
  : map(filter(graph!.appRoles, each => contains(['GroupMember.Read.All', 'User.Read.All'], each.value)), each => {
      id: each.id
      type: 'Role'
    })

resource broker 'Microsoft.Graph/applications@v1.0' = if (needsBroker) {
  uniqueName: brokerName
  displayName: brokerDisplayName
  signInAudience: signInAudience
  identifierUris: ['api://${brokerClientId}']
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: hasOwnApi
      ? [
          {
            id: accessScopeId
            value: 'access'
            type: 'User'
            isEnabled: true
            adminConsentDisplayName: 'Get tokens for calling and chat'
            adminConsentDescription: 'Lets the application get tokens for Azure Communication Services for the signed-in user.'
            userConsentDisplayName: 'Get tokens for calling and chat'
            userConsentDescription: 'Lets the application get tokens for calling and chat for you.'
          }
        ]
      : []
    preAuthorizedApplications: hasOwnApi
      ? [
          {
            appId: makesFrontEnd ? frontEnd!.appId : frontEndClientId
            delegatedPermissionIds: [accessScopeId]
          }
        ]
      : []
  }
  groupMembershipClaims: groupsClaim
  optionalClaims: {
    accessToken: groupsClaim == 'None'
      ? []
      : [
          {
            name: 'groups'
            essential: false
            additionalProperties: []
          }
        ]
  }
  requiredResourceAccess: concat(
    isOnBehalfOf ? communicationAccess : [],
    !groupsFromGraph
      ? []
      : [
          {
            resourceAppId: graphId
            resourceAccess: graphRoles
          }
        ]
  )

  // A credential for the broker: the managed identity.
  resource credential 'federatedIdentityCredentials@v1.0' = if (needsCredential) {
    name: '${brokerName}/managed-identity'
    description: 'The managed identity that acs-token-broker runs with.'
    issuer: '${loginEndpoint}${tenant().tenantId}/v2.0'
    subject: identityPrincipalId
    audiences: ['api://AzureADTokenExchange']
  }
}

resource brokerPrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = if (needsBroker) {
  appId: broker!.appId
}

resource brokerConsent 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = if (isOnBehalfOf && grantAdminConsent) {
  clientId: brokerPrincipal!.id
  resourceId: communicationApi!.id
  consentType: 'AllPrincipals'
  scope: join(communicationApiScopes, ' ')
}

// ---- A credential for the broker, the managed identity itself. main.bicep makes the same one, or finds it made.

module identity 'modules/identity.bicep' = if (needsCredential && empty(managedIdentityPrincipalId)) {
  name: '${name}-identity'
  params: {
    name: '${name}-identity'
    location: location
    tags: tags
  }
}

var identityPrincipalId = empty(managedIdentityPrincipalId) && needsCredential
  ? identity!.outputs.principalId
  : managedIdentityPrincipalId

// ---- Group membership from Graph, steps 1 and 2 for this tenant.

resource graph 'Microsoft.Graph/servicePrincipals@v1.0' existing = if (groupsFromGraph) {
  appId: graphId
}

resource readsMembers 'Microsoft.Graph/appRoleAssignedTo@v1.0' = if (groupsFromGraph && grantAdminConsent) {
  principalId: brokerPrincipal!.id
  resourceId: graph!.id
  appRoleId: filter(graph!.appRoles, each => each.value == 'GroupMember.Read.All')[0].id
}

resource readsUsers 'Microsoft.Graph/appRoleAssignedTo@v1.0' = if (groupsFromGraph && grantAdminConsent) {
  principalId: brokerPrincipal!.id
  resourceId: graph!.id
  appRoleId: filter(graph!.appRoles, each => each.value == 'User.Read.All')[0].id
}

// ----

@description('Client id of the front end: in clientIds of the assignments.')
output frontEndClientId string = makesFrontEnd ? frontEnd!.appId : frontEndClientId

@description('Client id of the broker: brokerClientId in main.bicepparam. Empty where none is needed.')
output brokerClientId string = brokerClientId

@description('What the front end asks Entra for.')
output scope string = hasOwnApi ? 'api://${brokerClientId}/access' : '${communicationApiUri}/${communicationApiScopes[0]}'

@description('What the administrator of each customer opens, with their tenant\'s id in place of {tenant}; the broker\'s first.')
output consentAddresses string[] = map(
  concat(needsBroker ? [brokerClientId] : [], [makesFrontEnd ? frontEnd!.appId : frontEndClientId]),
  each => '${loginEndpoint}{tenant}/adminconsent?client_id=${each}'
)
