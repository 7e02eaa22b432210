// az deployment group create --resource-group RESOURCE-GROUP --parameters entra.bicepparam
using 'entra.bicep'

// The same as in main.bicepparam.
param mode = 'passthrough'
// param name = 'acs-token-broker'

// The front end's registration is made here. If you have one: its client id, and see README.md of this folder for what to add
// to it by hand.
// param frontEndClientId = ''
param frontEndDisplayName = 'Contoso calling'
param frontEndRedirectUris = [
  'https://app.contoso.com'
]

// The broker's own API, in the modes on_behalf_of and identity.
// param brokerDisplayName = 'Contoso calling tokens'

// Users of other tenants can sign in.
// param multitenant = true

// param communicationScopes = ['VoIP', 'VoIP.Join']

// teams_user mode.
// param teamsScopes = ['Teams.ManageCalls']

// Groups in tokens for the broker's own API. 'ApplicationGroup' is better where users are in many groups; it takes Entra ID P1.
// param groupsClaim = 'SecurityGroup'

// unknownGroups in main.bicepparam is 'graph'.
// param groupsFromGraph = true

// Consent for this tenant. Without the right to give it: false, and somebody else opens consentAddresses.
// param grantAdminConsent = true

// Where you may register apps but not make resources: the object id of the identity that main.bicep made.
// param managedIdentityPrincipalId = ''
