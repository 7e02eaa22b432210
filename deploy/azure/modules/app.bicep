metadata description = 'The broker itself: the container app, its configuration, probes and scale rules.'

@description('A tenant whose users may have tokens.')
type tenant = {
  @description('Id of the tenant.')
  id: string

  @description('A name for people.')
  name: string?
}

@description('Name of the container app.')
param name string

@description('Region.')
param location string

@description('Tags of the resource.')
param tags object

@description('Resource id of the Container Apps environment.')
param environmentId string

@description('Resource id of the identity.')
param identityId string

@description('Client id of the identity.')
param identityClientId string

@description('Image, with a tag or digest.')
param image string

@description('Host name of the registry that the identity pulls from; empty where anyone may pull.')
param registryServer string

@description('Endpoint of the ACS resource.')
param endpoint string

@description('What is sent to ACS.')
@allowed(['passthrough', 'on_behalf_of', 'identity', 'teams_user'])
param mode string

@description('Tenants whose users may have tokens.')
param tenants tenant[]

@description('Client id of the broker\'s own API.')
param brokerClientId string

@description('The most that anyone gets in identity mode.')
param identityScopes string[]

@description('Where the Teams of the users is, in teams_user mode.')
@allowed(['public', 'gcch', 'dod'])
param teamsCloud string

@description('Whether identity and teams_user mode sign with the access key. If not, they ask with the managed identity.')
param signsWithKey bool

@description('Where assignments come from.')
@allowed(['file', 'acs', 'both'])
param assignmentsSource string

@description('Text of the assignment file.')
@secure()
param assignments string

@description('Which of the two access keys is in the vault, if signsWithKey.')
@allowed(['primary', 'secondary'])
param accessKey string

@description('What happens to callers whose groups are not known; empty for the broker\'s default.')
param unknownGroups string

@description('Origins of web pages that may read answers.')
param allowedOrigins string[]

@description('Any other settings of the broker.')
param settings { *: string }

@description('Address of the key vault, with a slash at its end.')
param vaultUri string

@description('Whether the vault has the key of the hash by which logs name users.')
param hasUserHashKey bool

@description('Address of the store that the replicas share; empty for none.')
param sharedCacheUrl string

@description('Its name, which the certificates of all nodes have.')
param sharedCacheHost string

@description('What the broker connects to.')
@allowed(['single', 'cluster'])
param sharedCacheKind string

@description('The keys that seal what is in it, which the vault has. Here only to see whether they are others.')
@secure()
param sharedCacheKeys string

@description('Whether the app can be reached from outside the environment\'s network.')
param external bool

@description('What the ingress speaks with the broker.')
@allowed(['http2', 'auto'])
param transport string

@description('Domains of your own.')
param customDomains object[]

@description('Cores of a replica, such as 0.5.')
param cpu string

@description('Memory of a replica.')
param memory string

@description('Least number of replicas.')
param minReplicas int

@description('Largest number of replicas.')
param maxReplicas int

@description('Requests at once in a replica, above which there are more replicas.')
param concurrentRequests int

@description('Seconds in which a replica that is stopped goes on serving.')
param drainDelaySeconds int

@description('Seconds that requests in flight may then still take.')
param drainTimeoutSeconds int

@description('Which part of the traces is sent, from 0 to 1.')
param traceRatio string

@description('Whether log lines are sent over OTLP too.')
param logsOverOtlp bool

@description('Whether metrics are sent over OTLP.')
param metricsOverOtlp bool

@description('What traces, logs and metrics say of where they come from.')
param deploymentEnvironment string

var secretsPath = '/etc/acs-token-broker/secrets'
var usesFile = assignmentsSource != 'acs'
var usesAcs = assignmentsSource != 'file'
var asksGraph = unknownGroups == 'graph'

// ---- The settings of the broker: ACS_TOKEN_BROKER__{key}. Lists and tables are TOML.

// A name is a TOML text: backslash and quote are escaped.
var tenantNames = map(tenants, each => replace(replace(each.?name ?? '', '\\', '\\\\'), '"', '\\"'))
var tenantNameSettings = map(tenantNames, each => empty(each) ? '' : ', name = "${each}"')
var tenantTables = map(tenants, (each, index) => '{id = "${each.id}"${tenantNameSettings[index]}}')

var always = {
  ENTRA__TENANTS: '[${join(tenantTables, ', ')}]'
  EXCHANGE__MODE: mode
  EXCHANGE__ENDPOINT: endpoint
  // Of one revision, and of the next while it takes over: each replica takes its part of what ACS allows.
  LIMITS__REPLICAS: '${maxReplicas + minReplicas}'
  ASSIGNMENTS__SOURCES: assignmentsSource == 'both' ? 'file,acs' : assignmentsSource
  // Of what a stopped replica does; the platform waits as long as the three add up to, see below.
  SERVER__DRAIN_DELAY: '${drainDelaySeconds}s'
  SERVER__DRAIN_TIMEOUT: '${drainTimeoutSeconds}s'
}

var ofOrigins = empty(allowedOrigins)
  ? {}
  : {
      SERVER__CORS__ALLOWED_ORIGINS: join(allowedOrigins, ',')
    }

var ofOwnApi = mode == 'passthrough' || mode == 'teams_user'
  ? {}
  : {
      ENTRA__AUDIENCES: '${brokerClientId},api://${brokerClientId}'
      ENTRA__REQUIRED_SCOPES: 'access'
    }

// No secret anywhere: Entra trusts the identity as the app's federated credential.
var ofOnBehalfOf = mode != 'on_behalf_of'
  ? {}
  : {
      EXCHANGE__ON_BEHALF_OF__CLIENT_ID: brokerClientId
      EXCHANGE__ON_BEHALF_OF__CREDENTIAL: 'managed_identity'
      EXCHANGE__ON_BEHALF_OF__MANAGED_IDENTITY_CLIENT_ID: identityClientId
    }

var ofIdentity = mode != 'identity'
  ? {}
  : {
      EXCHANGE__IDENTITY__SCOPES: join(identityScopes, ',')
    }

// No secret either: the managed identity stands for itself, with a role at the ACS resource.
var ofIdentityCredential = mode != 'identity' || signsWithKey
  ? {}
  : {
      EXCHANGE__IDENTITY__CREDENTIAL: 'managed_identity'
      EXCHANGE__IDENTITY__MANAGED_IDENTITY_CLIENT_ID: identityClientId
    }

var ofIdentityKey = mode != 'identity' || !signsWithKey
  ? {}
  : {
      EXCHANGE__IDENTITY__ACCESS_KEY_FILE: '${secretsPath}/access-key'
    }

var ofTeamsUser = mode != 'teams_user'
  ? {}
  : {
      EXCHANGE__TEAMS_USER__TEAMS_CLOUD: teamsCloud
    }

var ofTeamsUserCredential = mode != 'teams_user' || signsWithKey
  ? {}
  : {
      EXCHANGE__TEAMS_USER__CREDENTIAL: 'managed_identity'
      EXCHANGE__TEAMS_USER__MANAGED_IDENTITY_CLIENT_ID: identityClientId
    }

var ofTeamsUserKey = mode != 'teams_user' || !signsWithKey
  ? {}
  : {
      EXCHANGE__TEAMS_USER__ACCESS_KEY_FILE: '${secretsPath}/access-key'
    }

var ofFile = !usesFile
  ? {}
  : {
      ASSIGNMENTS__FILE: '${secretsPath}/assignments.toml'
    }

var ofAcs = !usesAcs
  ? {}
  : {
      ASSIGNMENTS__ACS__CREDENTIAL: 'managed_identity'
      ASSIGNMENTS__ACS__MANAGED_IDENTITY_CLIENT_ID: identityClientId
    }

var ofUnknownGroups = empty(unknownGroups)
  ? {}
  : {
      ASSIGNMENTS__UNKNOWN_GROUPS: unknownGroups
    }

var ofGraph = !asksGraph
  ? {}
  : {
      GRAPH__CLIENT_ID: brokerClientId
      GRAPH__CREDENTIAL: 'managed_identity'
      GRAPH__MANAGED_IDENTITY_CLIENT_ID: identityClientId
    }

var ofUserHashKey = !hasUserHashKey
  ? {}
  : {
      TELEMETRY__USER_HASH_KEY_FILE: '${secretsPath}/user-hash-key'
    }

// With a token of the managed identity, whose object id is its user's name.
var ofSharedCache = empty(sharedCacheUrl)
  ? {}
  : {
      SHARED_CACHE__URL: sharedCacheUrl
      SHARED_CACHE__KIND: sharedCacheKind
      SHARED_CACHE__TLS_NAME: sharedCacheHost
      SHARED_CACHE__CREDENTIAL: 'managed_identity'
      SHARED_CACHE__MANAGED_IDENTITY_CLIENT_ID: identityClientId
      SHARED_CACHE__ENCRYPTION_KEYS_FILE: '${secretsPath}/shared-cache-keys'
    }

// Yours come last and win.
var brokerSettings = union(
  always,
  ofOrigins,
  ofOwnApi,
  ofOnBehalfOf,
  ofIdentity,
  ofIdentityCredential,
  ofIdentityKey,
  ofTeamsUser,
  ofTeamsUserCredential,
  ofTeamsUserKey,
  ofFile,
  ofAcs,
  ofUnknownGroups,
  ofGraph,
  ofUserHashKey,
  ofSharedCache,
  settings
)

// The platform sets OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_PROTOCOL (grpc) itself.
var telemetry = union(
  {
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=${deploymentEnvironment}'
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio'
    OTEL_TRACES_SAMPLER_ARG: traceRatio
  },
  logsOverOtlp
    ? {}
    : {
        OTEL_LOGS_EXPORTER: 'none'
      },
  metricsOverOtlp
    ? {}
    : {
        OTEL_METRICS_EXPORTER: 'none'
      }
)

// A changed secret makes no new revision, and replicas that run may never see it. This variable, which the broker does not
// read, does: other assignments, the other access key or other keys of the shared cache, another revision.
var sharedCacheMark = empty(sharedCacheKeys) ? 'none' : uniqueString(sharedCacheKeys)
var secretsMark = '${usesFile ? uniqueString(assignments) : 'none'}-${signsWithKey ? accessKey : 'none'}-${sharedCacheMark}'

var environmentVariables = concat(
  map(items(brokerSettings), each => {
    name: 'ACS_TOKEN_BROKER__${each.key}'
    value: each.value
  }),
  map(items(telemetry), each => {
    name: each.key
    value: each.value
  }),
  [
    {
      name: 'SECRETS_MARK'
      value: secretsMark
    }
  ]
)

// ---- Secrets, and the file that each becomes.

var fromVault = concat(
  signsWithKey ? ['access-key'] : [],
  hasUserHashKey ? ['user-hash-key'] : [],
  empty(sharedCacheUrl) ? [] : ['shared-cache-keys']
)

// Without a version, so that Container Apps looks for a newer one by itself.
var vaultSecrets = map(fromVault, each => {
  name: each
  keyVaultUrl: '${vaultUri}secrets/${each}'
  identity: identityId
})

var fileSecrets = !usesFile
  ? []
  : [
      {
        name: 'assignments'
        value: assignments
      }
    ]

var secretFiles = concat(
  map(fromVault, each => {
    secretRef: each
    path: each
  }),
  !usesFile
    ? []
    : [
        {
          secretRef: 'assignments'
          path: 'assignments.toml'
        }
      ]
)

resource app 'Microsoft.App/containerApps@2025-07-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    environmentId: environmentId
    workloadProfileName: 'Consumption'
    configuration: {
      // A new revision takes the traffic once its replicas are ready, and the old one ends then.
      activeRevisionsMode: 'Single'
      maxInactiveRevisions: 5
      registries: empty(registryServer)
        ? []
        : [
            {
              server: registryServer
              identity: identityId
            }
          ]
      secrets: concat(vaultSecrets, fileSecrets)
      // Only port 8080. The management port, 8081, is for the probes and is not mapped to anywhere.
      ingress: {
        external: external
        targetPort: 8080
        transport: transport
        allowInsecure: false
        clientCertificateMode: 'ignore'
        customDomains: customDomains
        traffic: [
          {
            latestRevision: true
            weight: 100
          }
        ]
      }
    }
    template: {
      // serving on, requests in flight, five seconds for the last telemetry, and five to spare
      terminationGracePeriodSeconds: drainDelaySeconds + drainTimeoutSeconds + 10
      containers: [
        {
          name: 'broker'
          image: image
          env: environmentVariables
          resources: {
            cpu: json(cpu)
            memory: memory
          }
          volumeMounts: empty(secretFiles)
            ? []
            : [
                {
                  volumeName: 'secrets'
                  mountPath: secretsPath
                }
              ]
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/livez'
                port: 8081
              }
              periodSeconds: 3
              timeoutSeconds: 2
              failureThreshold: 10
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/livez'
                port: 8081
              }
              periodSeconds: 10
              timeoutSeconds: 2
              failureThreshold: 3
            }
            {
              // 503 until assignments and keys are there, and from SIGTERM on.
              type: 'Readiness'
              httpGet: {
                path: '/readyz'
                port: 8081
              }
              periodSeconds: 5
              timeoutSeconds: 2
              failureThreshold: 2
            }
          ]
        }
      ]
      volumes: empty(secretFiles)
        ? []
        : [
            {
              name: 'secrets'
              storageType: 'Secret'
              secrets: secretFiles
            }
          ]
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        rules: [
          {
            // Waiting for ACS takes no CPU, so this one is first to see a rush of new callers.
            name: 'requests'
            http: {
              metadata: {
                concurrentRequests: string(concurrentRequests)
              }
            }
          }
          {
            // Verifying signatures does.
            name: 'cpu'
            custom: {
              type: 'cpu'
              metadata: {
                type: 'Utilization'
                value: '70'
              }
            }
          }
        ]
      }
    }
  }
}

@description('Resource id of the container app.')
output id string = app.id

@description('Where the broker answers.')
output url string = 'https://${app.properties.configuration.ingress.fqdn}'

@description('What the platform wants in a TXT record before it takes a domain of yours.')
output domainVerification string = app.properties.customDomainVerificationId
