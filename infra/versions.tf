terraform {
  # 1.11 has write-only arguments: the first token key goes to Secrets Manager and not into the state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}
