data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  # `name` is deprecated in version 6 of the provider; `region` does not exist in version 5.
  region = data.aws_region.current.id

  package_dir = coalesce(var.package_dir, "${path.module}/../target/lambda")

  # Every path of openapi.yaml but /healthz, which only the local cloud has. test.sh compares the two.
  device_routes = {
    "POST /v1/check"                   = "check"
    "POST /tok/provision/update"       = "check"
    "POST /device/register"            = "check"
    "POST /v1/report"                  = "report"
    "POST /tok/provision/updateReport" = "report"

    "GET /{tenant}/controller/v1/{controller}"                                            = "check"
    "PUT /{tenant}/controller/v1/{controller}/configData"                                 = "check"
    "GET /{tenant}/controller/v1/{controller}/deploymentBase/{action}"                    = "check"
    "POST /{tenant}/controller/v1/{controller}/deploymentBase/{action}/feedback"          = "report"
    "GET /{tenant}/controller/v1/{controller}/installedBase/{action}"                     = "check"
    "GET /{tenant}/controller/v1/{controller}/cancelAction/{action}"                      = "check"
    "POST /{tenant}/controller/v1/{controller}/cancelAction/{action}/feedback"            = "report"
    "GET /{tenant}/controller/v1/{controller}/confirmationBase"                           = "check"
    "GET /{tenant}/controller/v1/{controller}/confirmationBase/{action}"                  = "check"
    "POST /{tenant}/controller/v1/{controller}/confirmationBase/{action}/feedback"        = "report"
    "GET /{tenant}/controller/v1/{controller}/softwaremodules/{action}/artifacts"         = "check"
    "GET /{tenant}/controller/v1/{controller}/softwaremodules/{action}/artifacts/{file}"  = "check"
    "HEAD /{tenant}/controller/v1/{controller}/softwaremodules/{action}/artifacts/{file}" = "check"

    "GET /onep:v1/stack/alias"   = "check"
    "POST /onep:v1/stack/alias"  = "report"
    "POST /onep:v1/stack/record" = "report"
    "POST /provision/activate"   = "check"
    "GET /provision/download"    = "check"

    "POST /kpc/kp1/{app_version}/cmx_ota/{token}/config/json"            = "check"
    "POST /kpc/kp1/{app_version}/cmx_ota/{token}/config/json/{request}"  = "check"
    "POST /kpc/kp1/{app_version}/cmx_ota/{token}/applied/json"           = "report"
    "POST /kpc/kp1/{app_version}/cmx_ota/{token}/applied/json/{request}" = "report"
  }

  operator_routes = [
    "GET /v1/products/{product}",
    "PATCH /v1/products/{product}",
    "PUT /v1/products/{product}/token",
    "POST /v1/products/{product}/updates",
    "GET /v1/products/{product}/updates",
    "GET /v1/products/{product}/updates/{version}",
    "PATCH /v1/products/{product}/updates/{version}",
    "POST /v1/products/{product}/updates/{version}/activate",
    "POST /v1/products/{product}/updates/{version}/pause",
    "POST /v1/products/{product}/updates/{version}/resume",
    "POST /v1/products/{product}/updates/{version}/complete",
    "POST /v1/products/{product}/updates/{version}/abort",
    "POST /v1/products/{product}/updates/{version}/withdraw",
    "GET /v1/products/{product}/updates/{version}/metrics",
    "GET /v1/products/{product}/audit",
    "GET /v1/products/{product}/versions",
    "GET /v1/products/{product}/devices",
    "GET /v1/products/{product}/devices/{device}",
    "GET /v1/products/{product}/devices/{device}/why",
    "PUT /v1/products/{product}/devices/{device}/token",
    "DELETE /v1/products/{product}/devices/{device}/token",
    "GET /otao/api/v1/applications/{app}/software",
    "POST /otao/api/v1/applications/{app}/software",
    "GET /otao/api/v1/applications/{app}/software/{version}",
    "PUT /otao/api/v1/applications/{app}/software/{version}",
    "DELETE /otao/api/v1/applications/{app}/software/{version}",
  ]
}
