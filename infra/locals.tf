data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  # `name` is deprecated in version 6 of the provider; `region` does not exist in version 5.
  region = data.aws_region.current.id

  package_dir = coalesce(var.package_dir, "${path.module}/../target/lambda")

  # The route table of the Rust code (crates/tidegate-wire/src/route.rs). A test there keeps this file equal to it.
  routes = {
    for route in jsondecode(file("${path.module}/routes.json")) :
    "${route.method} ${route.path}" => { function = route.function, authorization = route.authorization }
  }
}
