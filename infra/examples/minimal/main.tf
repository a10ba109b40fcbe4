terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}

# The region comes from AWS_REGION or the profile.
provider "aws" {}

module "tidegate" {
  source = "../.."
}

output "api_url" {
  description = "Where devices and operators find the API."
  value       = module.tidegate.api_url
}
