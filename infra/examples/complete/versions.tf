terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }

  # The bucket of bootstrap/; its name comes with -backend-config.
  backend "s3" {
    key          = "tidegate/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}
