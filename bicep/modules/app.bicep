// The relay. Everything under `template` makes a new revision when it changes; everything under `configuration` does
// not. No property of the app reads another resource: reference() is not worked out before a deployment, and the
// service's check takes a list or an object with one in it for a text, and refuses it (azure-container-apps #391).
import { setting, weight } from '../types.bicep'

param location string

@description('Name of the app.')
param name string

param environmentName string

@description('Whether the environment has no public address. With one, only the gateway\'s address may call.')
param internal bool

@description('The gateway\'s public address. Not looked at in an internal environment.')
param publicIpAddress string

@description('The identity that pulls the image and calls the model.')
param identityName string

param identityClientId string

param registryName string
param image string
param revisionSuffix string

@description('Traffic as it is now; empty: everything to the latest revision.')
param traffic weight[]

param activeRevisionsMode string

@description('The model\'s account.')
param accountName string

param modelDeployment string

// Beside the key: what only plans a deployment does not look at a secure parameter.
@description('Whether the relay shows modelKey to the account, and not its identity.')
param keyed bool

@description('Key of the model account.')
@secure()
param modelKey string

@description('Whether there are clientKeys.')
param withKeys bool

@description('Who may call: name:key pairs.')
@secure()
param clientKeys string

@description('Secret id of more of them in a Key Vault that the identity reads. Empty: none.')
param clientKeysSecretUri string

@description('Secret id of them that revisions which run still mount, where this one does not. Empty: none.')
param standingSecretUri string

@description('The environment\'s storage whose file client-keys has them. Empty: none.')
param keysStorage string

@description('More settings of the relay: a name and a value each.')
param relaySettings setting[]

param minReplicas int
param maxReplicas int
param terminationGracePeriodSeconds int
param cooldownPeriod int

@description('Calls of a replica at most.')
param maxSessions int

var port = 8080
var registryServer = '${registryName}${environment().suffixes.acrLoginServer}'
// The account's subdomain is its name, see openai.bicep.
var modelEndpoint = 'https://${accountName}.openai.azure.com/'
// Of relaySettings, what stands below too is said by them: a name may be there once only.
var said = string(relaySettings)
// Not all: one key that is lost, or one client that loops, must not shut out the others.
var clientSessions = max(1, maxSessions * 3 / 4)
// In a file, where the one or the other has them. A Key Vault's secret never goes into a variable: a new version of it
// restarts every active revision that has it in one.
var sharedKeys = !empty(keysStorage)
var vaultKeys = !empty(clientKeysSecretUri) && !sharedKeys
var keysFile = vaultKeys || sharedKeys
var secretUri = empty(clientKeysSecretUri) ? standingSecretUri : clientKeysSecretUri
// Beside a file the secret alone stays, for revisions that still read it: the relay refuses to be told one key twice.
var keysVariable = withKeys && !keysFile
var single = activeRevisionsMode == 'Single'
var weights = empty(traffic)
  ? [
      {
        latestRevision: true
        weight: 100
      }
    ]
  : traffic

// A CPU rule keeps the last replica: with it an app never gets to zero.
var cpuRules = (minReplicas == 0)
  ? []
  : [
      {
        name: 'cpu'
        custom: {
          type: 'cpu'
          metadata: {
            type: 'Utilization'
            value: '60'
          }
        }
      }
    ]

resource managedEnvironment 'Microsoft.App/managedEnvironments@2026-01-01' existing = {
  name: environmentName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource app 'Microsoft.App/containerApps@2026-01-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    environmentId: managedEnvironment.id
    workloadProfileName: 'Consumption'
    // Built-in authentication (authConfigs) stays off: it broke WebSockets (#549). The relay looks at the keys itself.
    configuration: {
      activeRevisionsMode: activeRevisionsMode
      ingress: union(
        {
          // In an internal environment this means the network, not the Internet. `false` would shut the gateway out.
          external: true
          targetPort: port
          // http2 answers upgrades with 503 (#280, #562). tcp has no weights and no affinity.
          transport: 'http'
          allowInsecure: false
        },
        single
          ? {
              stickySessions: {
                affinity: 'sticky'
              }
            }
          : {
              traffic: weights
              stickySessions: {
                affinity: 'none'
              }
            },
        internal
          ? {}
          : {
              ipSecurityRestrictions: [
                {
                  name: 'gateway'
                  action: 'Allow'
                  ipAddressRange: '${publicIpAddress}/32'
                }
              ]
            }
      )
      registries: [
        {
          server: registryServer
          identity: identity.id
        }
      ]
      // A changed secret reaches a running replica only when its revision is restarted. An empty one is refused.
      secrets: concat(
        withKeys
          ? [
              {
                name: 'client-keys'
                value: clientKeys
              }
            ]
          : [],
        empty(secretUri)
          ? []
          : [
              {
                name: 'client-keys-of-vault'
                keyVaultUrl: secretUri
                identity: identity.id
              }
            ],
        keyed
          ? [
              {
                name: 'model-key'
                value: modelKey
              }
            ]
          : []
      )
    }
    template: {
      revisionSuffix: revisionSuffix
      // SIGTERM to SIGKILL. Shorter than a call: the relay closes calls between two turns, it does not outwait them.
      terminationGracePeriodSeconds: terminationGracePeriodSeconds
      containers: [
        {
          name: 'rtproxy'
          image: image
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          env: concat(
            [
              {
                name: 'AZURE_OPENAI_ENDPOINT'
                value: modelEndpoint
              }
              {
                name: 'AZURE_OPENAI_DEPLOYMENT'
                value: modelDeployment
              }
              {
                name: 'AZURE_CLIENT_ID'
                value: identityClientId
              }
            ],
            keysVariable
              ? [
                  {
                    name: 'RTPROXY_CLIENT_KEYS'
                    secretRef: 'client-keys'
                  }
                ]
              : [],
            keysFile
              ? [
                  {
                    name: 'RTPROXY_CLIENT_KEYS_FILE'
                    value: '/mnt/client-keys/client-keys'
                  }
                ]
              : [],
            [
              {
                // 5 s are left for the exit, and for a platform whose clock started earlier than ours.
                name: 'RTPROXY_DRAIN_SECONDS'
                value: string(terminationGracePeriodSeconds - 5)
              }
              {
                // Less than every idle timeout on the way: the ingress's 240 s is the shortest.
                name: 'RTPROXY_HEARTBEAT_SECONDS'
                value: '25'
              }
            ],
            contains(said, '"RTPROXY_MAX_SESSIONS"')
              ? []
              : [
                  {
                    name: 'RTPROXY_MAX_SESSIONS'
                    value: string(maxSessions)
                  }
                ],
            contains(said, '"RTPROXY_MAX_CLIENT_SESSIONS"')
              ? []
              : [
                  {
                    name: 'RTPROXY_MAX_CLIENT_SESSIONS'
                    value: string(clientSessions)
                  }
                ],
            keyed
              ? [
                  {
                    name: 'AZURE_OPENAI_API_KEY'
                    secretRef: 'model-key'
                  }
                ]
              : [],
            relaySettings
          )
          volumeMounts: keysFile
            ? [
                {
                  volumeName: 'client-keys'
                  mountPath: '/mnt/client-keys'
                }
              ]
            : null
          // All three said: the platform's defaults are TCP probes, which a draining or stuck relay passes.
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/healthz'
                port: port
                scheme: 'HTTP'
              }
              periodSeconds: 1
              timeoutSeconds: 3
              failureThreshold: 10
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/healthz'
                port: port
                scheme: 'HTTP'
              }
              periodSeconds: 10
              timeoutSeconds: 3
              failureThreshold: 3
            }
            {
              // 503 from SIGTERM on. Two periods are less than the 3 s in which a draining relay still lets callers in.
              type: 'Readiness'
              httpGet: {
                path: '/readyz'
                port: port
                scheme: 'HTTP'
              }
              periodSeconds: 1
              timeoutSeconds: 3
              failureThreshold: 2
            }
          ]
        }
      ]
      volumes: vaultKeys
        ? [
            {
              name: 'client-keys'
              storageType: 'Secret'
              secrets: [
                {
                  secretRef: 'client-keys-of-vault'
                  path: 'client-keys'
                }
              ]
            }
          ]
        : sharedKeys
            ? [
                {
                  name: 'client-keys'
                  storageType: 'AzureFile'
                  storageName: keysStorage
                }
              ]
            : null
      scale: {
        minReplicas: minReplicas
        maxReplicas: maxReplicas
        // Governs the last step to zero only. N to M waits a fixed 300 s, whatever stands here.
        cooldownPeriod: cooldownPeriod
        pollingInterval: 30
        // The HTTP rule counts arrivals: requests of the last 15 s, divided by 15. A call is one request, at its
        // upgrade, so a replica full of held calls looks idle to it. CPU is what held calls do cost: the second rule
        // sees them, and any rule that asks for more replicas gets them.
        rules: concat(
          [
            {
              name: 'arrivals'
              http: {
                metadata: {
                  // A string, or the platform refuses it.
                  concurrentRequests: '50'
                }
              }
            }
          ],
          cpuRules
        )
      }
    }
  }
}
