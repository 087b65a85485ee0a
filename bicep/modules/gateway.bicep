// The front door. Its defaults are made for requests and cut calls; tests/bicep holds its times against each other.
// Any update of a gateway ends the open sockets after the drain timeout: roll out by the app's weights, never by
// editing the gateway.
param location string
param name string
param subnetId string
param publicIpId string

param appName string
param environmentName string

@description('Identity that may read the certificate. Not looked at without one.')
param identityId string

@description('Secret id of the certificate, without a version: a renewed one is found within 4 hours. Empty: HTTP.')
param certificateId string

@description('Web application firewall.')
param waf bool

param minCapacity int

@description('Port that leads to revisions; who may come there is the network\'s to say.')
param revisionsPort int

@description('Workspace that gets the access log.')
param workspaceId string

var tls = !empty(certificateId)
var sku = waf ? 'WAF_v2' : 'Standard_v2'
// Parts of a gateway refer to each other by full ids.
var frontend = {
  id: resourceId('Microsoft.Network/applicationGateways/frontendIPConfigurations', name, 'public')
}
var door = {
  id: resourceId('Microsoft.Network/applicationGateways/frontendPorts', name, tls ? 'https' : 'http')
}
var doorProtocol = tls ? 'Https' : 'Http'
var certificate = tls
  ? {
      id: resourceId('Microsoft.Network/applicationGateways/sslCertificates', name, 'door')
    }
  : null

// What callers may ask for: the relay's routes of calls, which all are below these, and the probe's. It is a list of what
// is open and not of what is shut, because /status can be written in more ways than one. A new route below /v1 or
// /openai needs no update of the gateway.
var callersPaths = [
  '/ws'
  '/ws/'
  '/v1/*'
  '/openai/*'
  '/healthz'
]

// It applies to a WebSocket as well, and the usual 20 to 30 s end calls with 1006 (AGIC-491, azure-docs 49622). Meant
// as silence, it would be far above the heartbeat with 3600; should it count from the start, the model's cap of 60
// minutes comes first and ends the call with its own reason.
var requestTimeout = 3900
// The most there is, and the longest a call can last. Without draining an update of the gateway cuts after 30 s.
var draining = {
  enabled: true
  drainTimeoutInSec: 3600
}

resource app 'Microsoft.App/containerApps@2026-01-01' existing = {
  name: appName
}

// Every revision has an address under its domain.
resource environment 'Microsoft.App/managedEnvironments@2026-01-01' existing = {
  name: environmentName
}

resource gateway 'Microsoft.Network/applicationGateways@2025-05-01' = {
  name: name
  location: location
  identity: tls
    ? {
        type: 'UserAssigned'
        userAssignedIdentities: {
          '${identityId}': {}
        }
      }
    : {
        type: 'None'
      }
  properties: {
    sku: {
      name: sku
      tier: sku
    }
    autoscaleConfiguration: {
      minCapacity: minCapacity
      maxCapacity: 10
    }
    // An upgrade is HTTP/1.1; a client that got h2 would have to know RFC 8441.
    enableHttp2: false
    sslPolicy: {
      policyType: 'Predefined'
      policyName: 'AppGwSslPolicy20220101'
    }
    firewallPolicy: waf
      ? {
          id: policy.id
        }
      : null
    gatewayIPConfigurations: [
      {
        name: 'subnet'
        properties: {
          subnet: {
            id: subnetId
          }
        }
      }
    ]
    frontendIPConfigurations: [
      {
        name: 'public'
        properties: {
          publicIPAddress: {
            id: publicIpId
          }
        }
      }
    ]
    frontendPorts: concat(
      [
        {
          name: 'http'
          properties: {
            port: 80
          }
        }
        {
          name: 'revisions'
          properties: {
            port: revisionsPort
          }
        }
      ],
      tls
        ? [
            {
              name: 'https'
              properties: {
                port: 443
              }
            }
          ]
        : []
    )
    sslCertificates: tls
      ? [
          {
            name: 'door'
            properties: {
              keyVaultSecretId: certificateId
            }
          }
        ]
      : []
    // One member: the environment's ingress. It looks at the Host header and finds app, revision and replica.
    backendAddressPools: [
      {
        name: 'ingress'
        properties: {
          backendAddresses: [
            {
              fqdn: app.properties.configuration.ingress.fqdn
            }
          ]
        }
      }
    ]
    backendHttpSettingsCollection: [
      {
        name: 'app'
        properties: {
          port: 443
          protocol: 'Https'
          // Any Host but one of the app's own gets the ingress's 404 page (#1240, #1298).
          pickHostNameFromBackendAddress: true
          requestTimeout: requestTimeout
          connectionDraining: draining
          // The pool has one member: a cookie of the gateway's cannot choose a replica behind it.
          cookieBasedAffinity: 'Disabled'
          probe: {
            id: resourceId('Microsoft.Network/applicationGateways/probes', name, 'app')
          }
        }
      }
      {
        // As above, with the caller's Host left alone. It is then the SNI as well, the gateway's default.
        name: 'revisions'
        properties: {
          port: 443
          protocol: 'Https'
          pickHostNameFromBackendAddress: false
          requestTimeout: requestTimeout
          connectionDraining: draining
          cookieBasedAffinity: 'Disabled'
          probe: {
            id: resourceId('Microsoft.Network/applicationGateways/probes', name, 'revisions')
          }
        }
      }
    ]
    // /healthz and not /readyz: readiness is a replica's, and the ingress acts on it. The gateway sees the ingress
    // alone, and a 503 from one draining replica would count against all of them. Each probe is a request to the app:
    // behind this gateway it never scales to zero.
    probes: [
      {
        name: 'app'
        properties: {
          protocol: 'Https'
          path: '/healthz'
          pickHostNameFromBackendHttpSettings: true
          interval: 30
          timeout: 10
          unhealthyThreshold: 3
        }
      }
      {
        // Its settings have no host to pick: it says one.
        name: 'revisions'
        properties: {
          protocol: 'Https'
          host: app.properties.configuration.ingress.fqdn
          path: '/healthz'
          pickHostNameFromBackendHttpSettings: false
          interval: 30
          timeout: 10
          unhealthyThreshold: 3
        }
      }
    ]
    httpListeners: concat(
      [
        {
          name: 'callers'
          properties: {
            frontendIPConfiguration: frontend
            frontendPort: door
            protocol: doorProtocol
            sslCertificate: certificate
          }
        }
        {
          // A rollout tries a revision before any caller gets there, at <app>--<revision>.<domain>. The environment is
          // internal, so the way is through here: dial the gateway and say that Host. No other app of the environment has
          // such a name, and any other Host is the gateway's 404. A port of its own, because the network tells callers and
          // rollouts apart by it. With TLS the certificate names another host; whether the gateway takes an SNI that
          // differs from the Host is to be seen on Azure.
          name: 'revisions'
          properties: {
            frontendIPConfiguration: frontend
            frontendPort: {
              id: resourceId('Microsoft.Network/applicationGateways/frontendPorts', name, 'revisions')
            }
            protocol: doorProtocol
            sslCertificate: certificate
            hostNames: [
              '${appName}--*.${environment.properties.defaultDomain}'
            ]
          }
        }
      ],
      tls
        ? [
            {
              name: 'plain'
              properties: {
                frontendIPConfiguration: frontend
                frontendPort: {
                  id: resourceId('Microsoft.Network/applicationGateways/frontendPorts', name, 'http')
                }
                protocol: 'Http'
              }
            }
          ]
        : []
    )
    redirectConfigurations: tls
      ? [
          {
            // For people. A WebSocket client follows no redirect of its upgrade: it has to say wss.
            name: 'plain-to-tls'
            properties: {
              redirectType: 'Permanent'
              targetListener: {
                id: resourceId('Microsoft.Network/applicationGateways/httpListeners', name, 'callers')
              }
              includePath: true
              includeQueryString: true
            }
          }
        ]
      : []
    rewriteRuleSets: [
      {
        name: 'original-host'
        properties: {
          rewriteRules: [
            {
              // The name the caller used is lost when the host is picked from the backend.
              name: 'forwarded-host'
              ruleSequence: 100
              actionSet: {
                requestHeaderConfigurations: [
                  {
                    headerName: 'X-Forwarded-Host'
                    headerValue: '{http_req_host}'
                  }
                ]
              }
            }
          ]
        }
      }
      {
        name: 'nothing-there'
        properties: {
          rewriteRules: [
            {
              name: 'root'
              ruleSequence: 100
              actionSet: {
                urlConfiguration: {
                  modifiedPath: '/'
                  reroute: false
                }
              }
            }
          ]
        }
      }
    ]
    // Whatever else a caller asks for, /status, /metrics and /readyz among it, is asked of the relay as /, which answers
    // 404. A pool without members would answer 502, like a relay that is down; a redirect tells a client to go elsewhere;
    // a rule of the firewall needs the firewall.
    urlPathMaps: [
      {
        name: 'callers'
        properties: {
          defaultBackendAddressPool: {
            id: resourceId('Microsoft.Network/applicationGateways/backendAddressPools', name, 'ingress')
          }
          defaultBackendHttpSettings: {
            id: resourceId('Microsoft.Network/applicationGateways/backendHttpSettingsCollection', name, 'app')
          }
          defaultRewriteRuleSet: {
            id: resourceId('Microsoft.Network/applicationGateways/rewriteRuleSets', name, 'nothing-there')
          }
          pathRules: [
            {
              name: 'calls'
              properties: {
                paths: callersPaths
                backendAddressPool: {
                  id: resourceId('Microsoft.Network/applicationGateways/backendAddressPools', name, 'ingress')
                }
                backendHttpSettings: {
                  id: resourceId('Microsoft.Network/applicationGateways/backendHttpSettingsCollection', name, 'app')
                }
                rewriteRuleSet: {
                  id: resourceId('Microsoft.Network/applicationGateways/rewriteRuleSets', name, 'original-host')
                }
              }
            }
          ]
        }
      }
    ]
    requestRoutingRules: concat(
      [
        {
          name: 'revisions'
          properties: {
            ruleType: 'Basic'
            priority: 100
            httpListener: {
              id: resourceId('Microsoft.Network/applicationGateways/httpListeners', name, 'revisions')
            }
            backendAddressPool: {
              id: resourceId('Microsoft.Network/applicationGateways/backendAddressPools', name, 'ingress')
            }
            backendHttpSettings: {
              id: resourceId('Microsoft.Network/applicationGateways/backendHttpSettingsCollection', name, 'revisions')
            }
          }
        }
        {
          name: 'callers'
          properties: {
            ruleType: 'PathBasedRouting'
            priority: 200
            httpListener: {
              id: resourceId('Microsoft.Network/applicationGateways/httpListeners', name, 'callers')
            }
            urlPathMap: {
              id: resourceId('Microsoft.Network/applicationGateways/urlPathMaps', name, 'callers')
            }
          }
        }
      ],
      tls
        ? [
            {
              name: 'plain-to-tls'
              properties: {
                ruleType: 'Basic'
                priority: 300
                httpListener: {
                  id: resourceId('Microsoft.Network/applicationGateways/httpListeners', name, 'plain')
                }
                redirectConfiguration: {
                  id: resourceId('Microsoft.Network/applicationGateways/redirectConfigurations', name, 'plain-to-tls')
                }
              }
            }
          ]
        : []
    )
  }
}

// It inspects the upgrade request: path, query and headers. Left out are the headers in which keys come, because random
// text looks like anything, and the rules against what is missing (Accept, User-Agent): a WebSocket library may send
// neither, and the two together with a Host that is an address would be refused.
resource policy 'Microsoft.Network/ApplicationGatewayWebApplicationFirewallPolicies@2025-05-01' = if (waf) {
  name: '${name}-waf'
  location: location
  properties: {
    policySettings: {
      state: 'Enabled'
      mode: 'Prevention'
      requestBodyCheck: true
    }
    managedRules: {
      exclusions: [
        {
          matchVariable: 'RequestHeaderNames'
          selectorMatchOperator: 'Equals'
          selector: 'Authorization'
        }
        {
          matchVariable: 'RequestHeaderNames'
          selectorMatchOperator: 'Equals'
          selector: 'api-key'
        }
        {
          // Sec-WebSocket-Key and -Protocol.
          matchVariable: 'RequestHeaderNames'
          selectorMatchOperator: 'StartsWith'
          selector: 'Sec-WebSocket'
        }
      ]
      managedRuleSets: [
        {
          ruleSetType: 'Microsoft_DefaultRuleSet'
          ruleSetVersion: '2.1'
          ruleGroupOverrides: [
            {
              ruleGroupName: 'PROTOCOL-ENFORCEMENT'
              rules: [
                {
                  ruleId: '920300'
                  state: 'Disabled'
                }
                {
                  ruleId: '920320'
                  state: 'Disabled'
                }
              ]
            }
          ]
        }
      ]
    }
  }
}

// The newest version that the service has for them.
#disable-next-line use-recent-api-versions
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: gateway
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        category: 'ApplicationGatewayAccessLog'
        enabled: true
      }
      {
        category: 'ApplicationGatewayFirewallLog'
        enabled: waf
      }
    ]
  }
}
