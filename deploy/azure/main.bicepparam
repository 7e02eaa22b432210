// The one file to fill in. What stands here in full must be looked at; what is commented out has its default.
// az deployment group create --resource-group RESOURCE-GROUP --parameters main.bicepparam
using 'main.bicep'

// ---- What there is

// Name of the container app, and prefix of the other names.
// param name = 'acs-token-broker'

// The production image; it has no emulator. README.md of this folder says how to get one into a registry of your own.
param image = 'ghcr.io/contoso/acs-token-broker:0.1.0'

// The Azure Container Registry that it is in. The identity gets the role AcrPull there. Without one, anyone must be able to
// pull the image.
// param registryName = 'contoso'
// param registryResourceGroup = 'shared'

// The ACS resource. Its name is unique in the world.
param communicationServiceName = 'contoso-calling'

// Made here, with its data in Europe. If you have one: false, and its resource group.
// param createCommunicationService = true
// param communicationServiceResourceGroup = 'calling'
// param communicationDataLocation = 'Europe'

// ---- Who gets tokens, and how

// 'passthrough', 'on_behalf_of', 'identity' or 'teams_user'; see docs/modes.md. on_behalf_of and identity need brokerClientId.
param mode = 'passthrough'

// The tenants whose users may have tokens.
param tenants = [
  {
    id: '8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11'
    name: 'Fabrikam'
  }
]

// What entra.bicep outputs as brokerClientId.
// param brokerClientId = ''

// Identity mode: the most that anyone gets.
// param identityScopes = ['chat', 'voip']

// teams_user mode: where the Teams of the users is; 'gcch' and 'dod' are US Government clouds.
// param teamsCloud = 'public'

// Identity and teams_user mode: 'managed_identity', which gets a role at the ACS resource, or 'access_key'.
// param communicationCredential = 'managed_identity'

// 'file': the text below. Changing it is another deployment, and a new revision with an empty cache.
// 'acs': the list at the ACS resource, asked every five minutes. The identity then gets a role that may do everything there.
// 'both': what either says.
param assignmentsSource = 'file'
param assignments = loadTextContent('assignments.toml')

// Callers whose token does not list their groups: 'acs', 'refuse', 'graph', or the broker's default.
// param unknownGroups = 'graph'

// Origins of web pages that may read answers, exactly as browsers send them.
param allowedOrigins = [
  'https://app.contoso.com'
]

// Any other setting of config.example.toml: SECTION__KEY.
// param settings = {
//   EXCHANGE__TIMEOUT: '4s'
// }

// Logs and traces name users by a hash. With a key of yours it is the same in all replicas and from one deployment to the
// next. Keep it where you keep secrets, and give it each time: export USER_HASH_KEY=$(openssl rand -hex 32) once.
// USER_HASH_KEY= (nothing) does without.
param userHashKey = readEnvironmentVariable('USER_HASH_KEY')

// Where communicationCredential is 'access_key': 'secondary' while the primary key is made anew.
// param accessKey = 'primary'

// ---- What the replicas share

// An Azure Managed Redis: a user's token is exchanged once for all replicas, and a new revision begins with what the others know. Its
// size: docs/scale.md. Keys: export SHARED_CACHE_KEYS="2026-12 $(openssl rand -base64 32)" once, and give the same each time.
// param sharedCacheSku = 'Balanced_B0'
// param sharedCacheKeys = readEnvironmentVariable('SHARED_CACHE_KEYS')

// 'OSSCluster' where one node is not enough: some hundred thousand operations a second.
// param sharedCacheClustering = 'NoCluster'
// param sharedCacheHighAvailability = true

// ---- How it runs

// Two, so that one may go: a platform that moves a replica, a revision that replaces another.
// param minReplicas = 2
// param maxReplicas = 6

// Requests at once in a replica, above which there are more.
// param concurrentRequests = 200
// param cpu = '0.5'

// A replica that is stopped serves on until the ingress has noticed, and then lets requests in flight end.
// param drainDelaySeconds = 10
// param drainTimeoutSeconds = 20

// 'auto' is HTTP/1.1 between the ingress and the broker. The broker closes such connections after ten seconds without a
// request, and the ingress may send one into a connection that is just closing.
// param ingressTransport = 'http2'

// A domain of yours; set it with the platform first, then write down here what it has, or the next deployment takes it away.
// param customDomains = [
//   {
//     name: 'broker.contoso.com'
//     bindingType: 'SniEnabled'
//     certificateId: '/subscriptions/…/managedCertificates/broker.contoso.com'
//   }
// ]

// A subnet of at least /27, delegated to Microsoft.App/environments. Zones need one, and so does an environment without a
// public address. None of the three can be changed later.
// param infrastructureSubnetId = '/subscriptions/…/subnets/container-apps'
// param zoneRedundant = true
// param externalIngress = false

// Between the ingress and the replicas, and among them. It costs some throughput.
// param encryptPeerTraffic = false

// ---- What is seen of it

// param retentionDays = 30
// param dailyQuotaGb = 5

// The part of the traces that is sent. Failed and slow requests leave a span whatever it is.
// param traceRatio = '0.1'

// Log lines go to the console log in any case. This sends them to Application Insights too, beside their traces; they are
// then paid for twice.
// param logsOverOtlp = true

// Metrics: Application Insights takes none from the agent. Any OTLP endpoint (gRPC, TLS) does: a collector before a
// Prometheus, or a vendor's.
// param metricsEndpoint = 'https://otlp.contoso.com:4317'
// param metricsHeaders = {
//   authorization: readEnvironmentVariable('METRICS_AUTHORIZATION')
// }

// param deploymentEnvironment = 'production'

// Who is notified when requests fail, replicas start again and again, or Azure refuses the broker's credential.
param alertEmail = 'operators@contoso.com'
