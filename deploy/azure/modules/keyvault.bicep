metadata description = 'The key vault with the broker\'s secrets, which the identity may read.'

@description('Name of the vault, unique in the world.')
@minLength(3)
@maxLength(24)
param name string

@description('Region.')
param location string

@description('Tags of the resources.')
param tags object

@description('Object id of the identity.')
param principalId string

@description('Whether the access key of the ACS resource is kept here.')
param holdsAccessKey bool

@description('Which of the two access keys.')
@allowed(['primary', 'secondary'])
param accessKey string

@description('Name of the ACS resource.')
param communicationServiceName string

@description('Its resource group.')
param communicationServiceResourceGroup string

@description('Key of the hash by which logs name users; empty for none.')
@secure()
param userHashKey string

@description('Keys that seal what is in the shared cache; empty for none.')
@secure()
param sharedCacheKeys string

// Key Vault Secrets User
var secretsUserRole = '4633458b-17de-408a-b874-0445c86b69e6'

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    // Container Apps fetches the secrets from addresses of its own, which a firewall here would have to let in.
    publicNetworkAccess: 'Enabled'
  }
}

resource service 'Microsoft.Communication/communicationServices@2025-09-01' existing = {
  name: communicationServiceName
  scope: resourceGroup(communicationServiceResourceGroup)
}

// Taken from the resource by the deployment itself, so that no person and no parameter file ever holds it.
resource accessKeySecret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (holdsAccessKey) {
  parent: vault
  name: 'access-key'
  tags: tags
  properties: {
    contentType: 'ACS access key, ${accessKey}'
    value: accessKey == 'primary' ? service.listKeys().primaryKey : service.listKeys().secondaryKey
  }
}

resource userHashKeySecret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (!empty(userHashKey)) {
  parent: vault
  name: 'user-hash-key'
  tags: tags
  properties: {
    contentType: 'key of telemetry.user_hash_key'
    value: userHashKey
  }
}

resource sharedCacheKeysSecret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (!empty(sharedCacheKeys)) {
  parent: vault
  name: 'shared-cache-keys'
  tags: tags
  properties: {
    contentType: 'keys of shared_cache.encryption_keys_file'
    value: sharedCacheKeys
  }
}

resource reader 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, secretsUserRole)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsUserRole)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

@description('Address of the vault, with a slash at its end.')
output uri string = vault.properties.vaultUri

@description('Name of the vault.')
output name string = vault.name
