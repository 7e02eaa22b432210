metadata description = 'The store that replicas share: Azure Managed Redis, which the managed identity alone may use.'

@description('Name of the store.')
@minLength(1)
@maxLength(60)
param name string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Object id of the identity.')
param principalId string

@description('Size and kind.')
param sku string

@description('How the data are spread over its nodes.')
@allowed(['NoCluster', 'EnterpriseCluster', 'OSSCluster'])
param clusteringPolicy string

@description('Whether there is a replica of the data.')
param highAvailability bool

var port = 10000

resource store 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
  }
  properties: {
    highAvailability: highAvailability ? 'Enabled' : 'Disabled'
    minimumTlsVersion: '1.2'
    // The replicas have no network of their own to reach it by. What is in it is sealed, and Entra says who may come in.
    publicNetworkAccess: 'Enabled'
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: store
  name: 'default'
  properties: {
    port: port
    clientProtocol: 'Encrypted'
    clusteringPolicy: clusteringPolicy
    // By use, and not by time left: what counts exchanges ends soonest, and must not go first.
    evictionPolicy: 'VolatileLRU'
    accessKeysAuthentication: 'Disabled'
  }
}

resource access 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = {
  parent: database
  name: uniqueString(store.id, principalId)
  properties: {
    // There is no other policy yet.
    accessPolicyName: 'default'
    user: {
      objectId: principalId
    }
  }
}

@description('Its address, for shared_cache.url.')
output url string = 'rediss://${store.properties.hostName}:${port}'

@description('Its name, which the certificates of all nodes have.')
output hostName string = store.properties.hostName
