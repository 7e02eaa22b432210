metadata description = 'acs-token-broker on Azure Container Apps, with all that it needs; main.bicepparam is what you fill in.'

targetScope = 'resourceGroup'

@description('A tenant whose users may have tokens.')
type tenant = {
  @description('Id of the tenant.')
  @minLength(36)
  @maxLength(36)
  id: string

  @description('A name for people.')
  name: string?
}

// ---- What there is

@description('Name of the container app, and prefix of the other names.')
@minLength(2)
@maxLength(24)
param name string = 'acs-token-broker'

@description('Region of everything but the ACS resource, which has none.')
param location string = resourceGroup().location

@description('Tags of all resources.')
param tags object = {}

@description('Image, with a tag or digest.')
@minLength(1)
param image string

@description('Name of the Azure Container Registry that the image is in; empty where anyone may pull it.')
param registryName string = ''

@description('Resource group of that registry.')
param registryResourceGroup string = resourceGroup().name

@description('Name of the ACS resource.')
@minLength(1)
@maxLength(63)
param communicationServiceName string

@description('Whether the ACS resource is made here. Otherwise it is there already.')
param createCommunicationService bool = true

@description('Resource group of the ACS resource.')
param communicationServiceResourceGroup string = resourceGroup().name

@description('Where a new ACS resource keeps its data. It cannot be changed later.')
@allowed([
  'Africa'
  'Asia Pacific'
  'Australia'
  'Brazil'
  'Canada'
  'Europe'
  'France'
  'Germany'
  'India'
  'Japan'
  'Korea'
  'Norway'
  'Switzerland'
  'UAE'
  'UK'
  'United States'
])
param communicationDataLocation string = 'Europe'

// ---- Who gets tokens, and how

@description('What is sent to ACS; see docs/modes.md.')
@allowed(['passthrough', 'on_behalf_of', 'identity', 'teams_user'])
param mode string = 'passthrough'

@description('Tenants whose users may have tokens. No others are ever looked up.')
@minLength(1)
param tenants tenant[]

@description('Client id of the broker\'s own API, as entra.bicep outputs it. Needed in the modes on_behalf_of and identity, and for unknownGroups graph.')
param brokerClientId string = ''

@description('The most that anyone gets in identity mode.')
@minLength(1)
param identityScopes ('chat' | 'chat.join' | 'chat.join.limited' | 'voip' | 'voip.join')[] = ['chat', 'voip']

@description('Where the Teams of the users is, in teams_user mode: the public cloud, or one of the US Government\'s.')
@allowed(['public', 'gcch', 'dod'])
param teamsCloud string = 'public'

@description('Where assignments come from: the text in assignments, the ACS resource, or both.')
@allowed(['file', 'acs', 'both'])
param assignmentsSource string = 'file'

@description('Text of the assignment file (TOML).')
@secure()
param assignments string = ''

@description('What happens to callers whose token does not list their groups; empty for the broker\'s default.')
@allowed(['', 'acs', 'refuse', 'graph'])
param unknownGroups string = ''

@description('Origins of web pages that may read answers.')
param allowedOrigins string[] = []

@description('Any other settings of the broker: the key is that of its environment variable without ACS_TOKEN_BROKER__.')
param settings { *: string } = {}

@description('What identity and teams_user mode ask ACS with: the managed identity, for which there is no secret, or the access key of the resource.')
@allowed(['managed_identity', 'access_key'])
param communicationCredential string = 'managed_identity'

@description('Which of the two access keys, where communicationCredential is access_key.')
@allowed(['primary', 'secondary'])
param accessKey string = 'primary'

@description('Key of the hash by which logs and traces name users, 16 characters or more; empty for one of each replica\'s own.')
@secure()
param userHashKey string

// ---- What the replicas share

@description('Size and kind of an Azure Managed Redis that the replicas share tokens and the budget of exchanges in; empty for none.')
@allowed([
  ''
  'Balanced_B0'
  'Balanced_B1'
  'Balanced_B3'
  'Balanced_B5'
  'Balanced_B10'
  'Balanced_B20'
])
param sharedCacheSku string = ''

@description('How its data are spread over nodes. NoCluster can be changed later, the other two cannot.')
@allowed(['NoCluster', 'EnterpriseCluster', 'OSSCluster'])
param sharedCacheClustering string = 'NoCluster'

@description('Whether it has a replica of the data. Without it the store is away for a while when Azure maintains it, and begins empty.')
param sharedCacheHighAvailability bool = true

@description('Lines of a name and 32 bytes in base64: the keys that seal what is in the store.')
@secure()
param sharedCacheKeys string = ''

// ---- How it runs

@description('Least number of replicas. Two, so that one may go.')
@minValue(1)
@maxValue(100)
param minReplicas int = 2

@description('Largest number of replicas. Without a shared cache each may cost a user one more exchange.')
@minValue(1)
@maxValue(100)
param maxReplicas int = 6

@description('Requests at once in a replica, above which there are more replicas. The broker refuses beyond 1024.')
@minValue(1)
@maxValue(1000)
param concurrentRequests int = 200

@description('Cores of a replica.')
@allowed(['0.25', '0.5', '1', '2'])
param cpu string = '0.5'

@description('Seconds in which a replica that is stopped goes on serving, until the ingress has noticed.')
@minValue(0)
@maxValue(120)
param drainDelaySeconds int = 10

@description('Seconds that requests in flight may then still take.')
@minValue(1)
@maxValue(120)
param drainTimeoutSeconds int = 20

@description('Whether the broker can be reached from the internet. If not, it needs a subnet.')
param externalIngress bool = true

@description('What the ingress speaks with the broker: http2, or HTTP/1.1 with auto.')
@allowed(['http2', 'auto'])
param ingressTransport string = 'http2'

@description('Domains of your own: name, bindingType and certificateId, as the platform has them.')
param customDomains object[] = []

@description('Resource id of a subnet, delegated to Microsoft.App/environments, for the environment; empty for none. It cannot be changed later.')
param infrastructureSubnetId string = ''

@description('Whether replicas are spread over availability zones. It needs a subnet, and cannot be changed later.')
param zoneRedundant bool = false

@description('Whether traffic within the environment is encrypted too.')
param encryptPeerTraffic bool = true

// ---- What is seen of it

@description('How long logs and traces are kept, in days.')
@minValue(30)
@maxValue(730)
param retentionDays int = 30

@description('Most that Log Analytics takes in a day, in GB; what comes after it is lost. -1 for no bound.')
@minValue(-1)
param dailyQuotaGb int = -1

@description('Which part of the traces is sent, from 0 to 1. A request that fails or is slow leaves a span all the same.')
param traceRatio string = '0.1'

@description('Whether log lines go to Application Insights too, beside their traces.')
param logsOverOtlp bool = true

@description('OTLP endpoint (gRPC, TLS) for metrics, such as that of a collector or of a vendor; empty for none.')
param metricsEndpoint string = ''

@description('Headers for that endpoint.')
@secure()
param metricsHeaders object = {}

@description('What traces, logs and metrics say of where they come from (deployment.environment.name).')
@minLength(1)
param deploymentEnvironment string = 'production'

@description('Who is notified by email when something is wrong; empty for nobody.')
param alertEmail string = ''

// ---- What cannot work is refused here, and not by a replica that does not start.

var needsBroker = mode == 'on_behalf_of' || mode == 'identity' || unknownGroups == 'graph'
// The modes in which ACS answers the broker and not the user.
var inOwnName = mode == 'identity' || mode == 'teams_user'
var signsWithKey = inOwnName && communicationCredential == 'access_key'
var checkedClientId = needsBroker && empty(brokerClientId)
  ? fail('brokerClientId is needed in this mode, and for unknownGroups graph; entra.bicep outputs it')
  : brokerClientId
var checkedUnknownGroups = inOwnName && unknownGroups == 'acs'
  ? fail('unknownGroups cannot be acs in identity and teams_user mode: ACS knows no assignments there')
  : unknownGroups
var checkedAssignments = assignmentsSource != 'acs' && empty(assignments)
  ? fail('assignments is empty, so nobody would be let in')
  : assignments
var checkedSubnetId = (zoneRedundant || !externalIngress) && empty(infrastructureSubnetId)
  ? fail('zones, and an environment without a public address, need infrastructureSubnetId')
  : infrastructureSubnetId
var checkedMaxReplicas = minReplicas > maxReplicas ? fail('minReplicas is larger than maxReplicas') : maxReplicas
var checkedHashKey = !empty(userHashKey) && length(userHashKey) < 16
  ? fail('userHashKey has 16 characters at least')
  : userHashKey
var hasSharedCache = !empty(sharedCacheSku)
var checkedSharedCacheKeys = hasSharedCache && empty(sharedCacheKeys)
  ? fail('sharedCacheKeys is empty, so nothing could be kept in the shared cache')
  : sharedCacheKeys

// Container Apps takes these pairs only.
var memoryOf = {
  '0.25': '0.5Gi'
  '0.5': '1Gi'
  '1': '2Gi'
  '2': '4Gi'
}

module identity 'modules/identity.bicep' = {
  name: '${name}-identity'
  params: {
    name: '${name}-identity'
    location: location
    tags: tags
  }
}

module registry 'modules/registry.bicep' = if (!empty(registryName)) {
  name: '${name}-registry'
  scope: resourceGroup(registryResourceGroup)
  params: {
    registryName: registryName
    principalId: identity.outputs.principalId
  }
}

module communication 'modules/communication.bicep' = if (createCommunicationService) {
  name: '${name}-communication'
  scope: resourceGroup(communicationServiceResourceGroup)
  params: {
    name: communicationServiceName
    dataLocation: communicationDataLocation
    tags: tags
  }
}

module communicationAccess 'modules/communication-access.bicep' = {
  name: '${name}-communication-access'
  scope: resourceGroup(communicationServiceResourceGroup)
  params: {
    name: communicationServiceName
    principalId: identity.outputs.principalId
    asksInOwnName: assignmentsSource != 'file' || (inOwnName && !signsWithKey)
  }
  dependsOn: [
    communication
  ]
}

module vault 'modules/keyvault.bicep' = {
  name: '${name}-vault'
  params: {
    name: 'kv-${uniqueString(resourceGroup().id, name)}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    holdsAccessKey: signsWithKey
    accessKey: accessKey
    communicationServiceName: communicationServiceName
    communicationServiceResourceGroup: communicationServiceResourceGroup
    userHashKey: checkedHashKey
    sharedCacheKeys: hasSharedCache ? checkedSharedCacheKeys : ''
  }
  dependsOn: [
    communication
  ]
}

module sharedCache 'modules/shared-cache.bicep' = if (hasSharedCache) {
  name: '${name}-shared-cache'
  params: {
    name: '${name}-${uniqueString(resourceGroup().id, name)}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    sku: sharedCacheSku
    clusteringPolicy: sharedCacheClustering
    highAvailability: sharedCacheHighAvailability
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: '${name}-monitoring'
  params: {
    name: name
    location: location
    tags: tags
    retentionDays: retentionDays
    dailyQuotaGb: dailyQuotaGb
  }
}

module environment 'modules/environment.bicep' = {
  name: '${name}-environment'
  params: {
    name: '${name}-environment'
    location: location
    tags: tags
    infrastructureSubnetId: checkedSubnetId
    internal: !externalIngress
    zoneRedundant: zoneRedundant
    encryptPeerTraffic: encryptPeerTraffic
    workspaceId: monitoring.outputs.workspaceId
    connectionString: monitoring.outputs.connectionString
    logsOverOtlp: logsOverOtlp
    metricsEndpoint: metricsEndpoint
    metricsHeaders: metricsHeaders
  }
}

module app 'modules/app.bicep' = {
  name: '${name}-app'
  params: {
    name: name
    location: location
    tags: tags
    environmentId: environment.outputs.id
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    image: image
    // With this reference the app also waits for the role at the registry.
    registryServer: empty(registryName) ? '' : registry!.outputs.loginServer
    endpoint: communicationAccess.outputs.endpoint
    mode: mode
    tenants: tenants
    brokerClientId: checkedClientId
    identityScopes: identityScopes
    teamsCloud: teamsCloud
    signsWithKey: signsWithKey
    assignmentsSource: assignmentsSource
    assignments: checkedAssignments
    accessKey: accessKey
    unknownGroups: checkedUnknownGroups
    allowedOrigins: allowedOrigins
    settings: settings
    // ... and with this one for the role at the vault, and for its secrets.
    vaultUri: vault.outputs.uri
    hasUserHashKey: !empty(userHashKey)
    sharedCacheUrl: hasSharedCache ? sharedCache!.outputs.url : ''
    sharedCacheHost: hasSharedCache ? sharedCache!.outputs.hostName : ''
    // The broker's kind is about what it connects to: one address, or nodes that tell of each other.
    sharedCacheKind: sharedCacheClustering == 'OSSCluster' ? 'cluster' : 'single'
    sharedCacheKeys: hasSharedCache ? checkedSharedCacheKeys : ''
    // In an environment without a public address, this is the network of the subnet.
    external: true
    transport: ingressTransport
    customDomains: customDomains
    cpu: cpu
    memory: memoryOf[cpu]
    minReplicas: minReplicas
    maxReplicas: checkedMaxReplicas
    concurrentRequests: concurrentRequests
    drainDelaySeconds: drainDelaySeconds
    drainTimeoutSeconds: drainTimeoutSeconds
    traceRatio: traceRatio
    logsOverOtlp: logsOverOtlp
    metricsOverOtlp: !empty(metricsEndpoint)
    deploymentEnvironment: deploymentEnvironment
  }
}

module alerts 'modules/alerts.bicep' = if (!empty(alertEmail)) {
  name: '${name}-alerts'
  params: {
    name: name
    location: location
    tags: tags
    email: alertEmail
    appId: app.outputs.id
    appName: name
    workspaceId: monitoring.outputs.workspaceId
  }
}

@description('Where the broker answers: the resourceEndpoint of front ends.')
output url string = app.outputs.url

@description('Endpoint of the ACS resource.')
output communicationEndpoint string = communicationAccess.outputs.endpoint

@description('Object id of the identity.')
output identityPrincipalId string = identity.outputs.principalId

@description('Name of the key vault.')
output keyVaultName string = vault.outputs.name

@description('Name of the Log Analytics workspace.')
output workspaceName string = monitoring.outputs.workspaceName

@description('What a TXT record asuid.{your domain} must say before the platform takes the domain.')
output domainVerification string = app.outputs.domainVerification
