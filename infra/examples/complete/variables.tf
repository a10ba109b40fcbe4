variable "region" {
  description = "Region of the stack."
  type        = string
  default     = "eu-west-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be a region's name such as eu-west-1."
  }
}

variable "zone_id" {
  description = "Route 53 zone that both domains are in."
  type        = string

  validation {
    condition     = startswith(var.zone_id, "Z")
    error_message = "zone_id must be the id of a hosted zone, which starts with Z."
  }
}

variable "api_domain" {
  description = "Domain of the API, such as updates.example.com."
  type        = string

  validation {
    condition     = strcontains(var.api_domain, ".")
    error_message = "api_domain must be a host name."
  }
}

variable "api_certificate_arn" {
  description = "Certificate of the API's domain, from ACM in the stack's region."
  type        = string

  validation {
    condition     = startswith(var.api_certificate_arn, "arn:")
    error_message = "api_certificate_arn must be an ARN."
  }
}

variable "device_ca_path" {
  description = "File with the certificates, in PEM, of the CA that your devices' and operators' certificates come from."
  type        = string

  validation {
    condition     = endswith(var.device_ca_path, ".pem")
    error_message = "device_ca_path must be the path of a .pem file."
  }
}

variable "images_domain" {
  description = "Domain of the images, such as images.example.com."
  type        = string

  validation {
    condition     = strcontains(var.images_domain, ".")
    error_message = "images_domain must be a host name."
  }
}

variable "images_certificate_arn" {
  description = "Certificate of the images' domain, from ACM in us-east-1."
  type        = string

  validation {
    condition     = startswith(var.images_certificate_arn, "arn:")
    error_message = "images_certificate_arn must be an ARN."
  }
}

variable "cdn_public_key_path" {
  description = "File with the public key, in PEM, that CloudFront verifies download URLs with."
  type        = string

  validation {
    condition     = endswith(var.cdn_public_key_path, ".pem")
    error_message = "cdn_public_key_path must be the path of a .pem file."
  }
}

variable "alarm_emails" {
  description = "Addresses that are told of alarms. Each must confirm the subscription."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alarm_emails : strcontains(address, "@")])
    error_message = "alarm_emails must be e-mail addresses."
  }
}

variable "operator_roles" {
  description = "Existing IAM roles of people, and for each the policy it gets: viewer, publisher or approver."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for policy in values(var.operator_roles) : contains(["viewer", "publisher", "approver"], policy)])
    error_message = "operator_roles must map role names to viewer, publisher or approver."
  }
}
