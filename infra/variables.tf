variable "name" {
  description = "Prefix of every resource's name. One stack per name and account: roles and policies are global."
  type        = string
  default     = "tidegate"

  # The bucket has the longest name: 63 characters with the account and the longest region.
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 20 lower-case letters, digits and hyphens, start with a letter and not end with a hyphen."
  }
}

variable "package_dir" {
  description = "Folder with `<function>/bootstrap.zip` for check, report, count, publish, sweep and verify. Null: `target/lambda` of this checkout."
  type        = string
  default     = null

  validation {
    condition     = var.package_dir == null ? true : length(var.package_dir) > 0
    error_message = "package_dir must be a path, or null."
  }
}

variable "architecture" {
  description = "Processor that the packages are built for: `arm64` or `x86_64`."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "memory_mb" {
  description = "Memory of each function in MB; Lambda gives processor and network in proportion. 256 each, 512 for `count`, whose batches have up to 6 MB, 1024 for `publish`, which reads images of up to 1 GiB, and 1769, a whole processor, for `verify`, which reads larger ones."
  type = object({
    check   = optional(number, 256)
    report  = optional(number, 256)
    count   = optional(number, 512)
    publish = optional(number, 1024)
    sweep   = optional(number, 256)
    verify  = optional(number, 1769)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for memory_mb in values(var.memory_mb) : memory_mb >= 128 && memory_mb <= 10240 && floor(memory_mb) == memory_mb])
    error_message = "memory_mb must be whole numbers from 128 to 10240."
  }
}

variable "check_reserved_concurrency" {
  description = "Reserved concurrency of `check`: its maximum, and always available. Null: no reservation."
  type        = number
  default     = null

  # Zero would refuse every device and look like an outage.
  validation {
    condition     = var.check_reserved_concurrency == null ? true : var.check_reserved_concurrency >= 1
    error_message = "check_reserved_concurrency must be at least 1, or null."
  }
}

variable "longest_poll_s" {
  description = "Longest time in seconds that a request may wait for an update if its protocol asks for that (Exosite's long poll). Waiting functions cost money."
  type        = number
  default     = 0

  validation {
    condition     = var.longest_poll_s >= 0 && var.longest_poll_s <= 18 && floor(var.longest_poll_s) == var.longest_poll_s
    error_message = "longest_poll_s must be a whole number from 0 to 18: API Gateway answers by itself after 30 seconds."
  }
}

variable "ca_bundle" {
  description = "PEM file in the functions' environment with the certificate authorities to trust instead of Amazon's five. The system's file is `/etc/pki/tls/certs/ca-bundle.crt`. Null: Amazon's."
  type        = string
  default     = null

  validation {
    condition     = var.ca_bundle == null ? true : startswith(var.ca_bundle, "/")
    error_message = "ca_bundle must be an absolute path, or null."
  }
}

variable "log_level" {
  description = "Log level of the functions: `trace`, `debug`, `info`, `warn` or `error`."
  type        = string
  default     = "info"

  validation {
    condition     = contains(["trace", "debug", "info", "warn", "error"], var.log_level)
    error_message = "log_level must be trace, debug, info, warn or error."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days that CloudWatch knows, such as 7, 30, 90 or 365; logs that never expire are not offered."
  }
}

variable "tracing" {
  description = "Whether X-Ray samples the functions. Off by default: it costs more than the check-ins that it traces."
  type        = bool
  default     = false
  nullable    = false
}

variable "access_log" {
  description = "Whether the HTTP API logs every request. Off by default: the functions already log each request with its reason."
  type        = bool
  default     = false
  nullable    = false
}

variable "token_keys_revision" {
  description = "Change this number after you change the secret: it publishes new versions of the functions that read the token keys, so that every environment reads them again."
  type        = number
  default     = 1

  validation {
    condition     = var.token_keys_revision >= 1 && floor(var.token_keys_revision) == var.token_keys_revision
    error_message = "token_keys_revision must be a whole number from 1."
  }
}

variable "generate_token_key" {
  description = "Whether the first apply makes the first token key. False: put `name:secret` into the secret yourself before the first check-in."
  type        = bool
  default     = true
  nullable    = false
}

variable "catalog_key_revision" {
  description = "Change this number after you change the secret: it publishes new versions of the functions that read the key of catalogs, so that every environment reads them again."
  type        = number
  default     = 1

  validation {
    condition     = var.catalog_key_revision >= 1 && floor(var.catalog_key_revision) == var.catalog_key_revision
    error_message = "catalog_key_revision must be a whole number from 1."
  }
}

variable "generate_catalog_key" {
  description = "Whether the first apply makes the key of catalogs. False: put `secret`, base64url of at least 32 bytes, into the secret yourself before the first publication."
  type        = bool
  default     = true
  nullable    = false
}

variable "secret_recovery_days" {
  description = "Days in which a deleted secret can be restored: 7 to 30, or 0 to delete at once."
  type        = number
  default     = 30

  validation {
    condition     = var.secret_recovery_days == 0 || (var.secret_recovery_days >= 7 && var.secret_recovery_days <= 30)
    error_message = "secret_recovery_days must be 0, or from 7 to 30."
  }
}

variable "table_deletion_protection" {
  description = "Whether DynamoDB refuses to delete the table."
  type        = bool
  default     = true
  nullable    = false
}

variable "bucket_name" {
  description = "Name of the image bucket. Null: `<name>-images-<account>-<region>`, which is unlikely to be taken."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null ? true : can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must be 3 to 63 lower-case letters, digits and hyphens; dots break TLS to the bucket."
  }
}

variable "throttle_rate" {
  description = "Requests per second that the HTTP API lets through. A million devices that check in hourly are 280."
  type        = number
  default     = 1000

  validation {
    condition     = var.throttle_rate >= 1
    error_message = "throttle_rate must be at least 1 request per second."
  }
}

variable "throttle_burst" {
  description = "Requests that the HTTP API lets through at once."
  type        = number
  default     = 2000

  validation {
    condition     = var.throttle_burst >= 1 && floor(var.throttle_burst) == var.throttle_burst
    error_message = "throttle_burst must be a whole number of at least 1."
  }
}

variable "domain" {
  description = "Custom domain of the API. With it, the API answers on this domain only. With `truststore_pem` (certificates of your device CA) every caller, also an operator, needs a client certificate of that CA. `certificate_arn` is the certificate of the domain, from ACM in the same region."
  type = object({
    name                                   = string
    certificate_arn                        = string
    truststore_pem                         = optional(string)
    ownership_verification_certificate_arn = optional(string)
  })
  default = null

  validation {
    condition     = var.domain == null ? true : can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.domain.name))
    error_message = "domain.name must be a host name such as updates.example.com."
  }

  validation {
    condition     = var.domain == null ? true : can(regex("^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/", var.domain.certificate_arn))
    error_message = "domain.certificate_arn must be the ARN of an ACM certificate."
  }

  validation {
    condition     = try(var.domain.truststore_pem, null) == null ? true : strcontains(var.domain.truststore_pem, "-----BEGIN CERTIFICATE-----")
    error_message = "domain.truststore_pem must hold certificates in PEM."
  }
}

variable "cdn" {
  description = "CloudFront in front of the images, with signed URLs. `public_key_pem` is an ECDSA P-256 public key; put its private key into the secret `cdn_key_secret_arn`. `domain` needs a certificate from us-east-1. Null: devices download from S3."
  type = object({
    public_key_pem = string
    price_class    = optional(string, "PriceClass_All")
    web_acl_arn    = optional(string)
    domain = optional(object({
      name            = string
      certificate_arn = string
    }))
  })
  default = null

  validation {
    # Every P-256 public key begins with these 36 characters: they name the algorithm and the curve.
    condition     = var.cdn == null ? true : strcontains(replace(var.cdn.public_key_pem, "/\\s/", ""), "-----BEGINPUBLICKEY-----MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE")
    error_message = "cdn.public_key_pem must be an ECDSA P-256 public key in PEM."
  }

  validation {
    condition     = var.cdn == null ? true : contains(["PriceClass_100", "PriceClass_200", "PriceClass_All"], var.cdn.price_class)
    error_message = "cdn.price_class must be PriceClass_100, PriceClass_200 or PriceClass_All."
  }

  validation {
    condition     = try(var.cdn.domain, null) == null ? true : can(regex("^arn:[a-z-]+:acm:us-east-1:[0-9]{12}:certificate/", var.cdn.domain.certificate_arn))
    error_message = "cdn.domain.certificate_arn must be the ARN of an ACM certificate in us-east-1: CloudFront takes no other."
  }
}

variable "alarm_actions" {
  description = "ARNs, for example of SNS topics, that get a message when an alarm begins or ends."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.alarm_actions : startswith(arn, "arn:")])
    error_message = "alarm_actions must be ARNs."
  }
}

variable "check_p99_ms" {
  description = "An alarm begins if more than 1 % of check-ins take longer than this, in milliseconds."
  type        = number
  default     = 500

  validation {
    condition     = var.check_p99_ms > 0
    error_message = "check_p99_ms must be more than 0."
  }
}

variable "sweep_late_minutes" {
  description = "An alarm begins after these minutes without a finished sweep. Without a sweep, expired claims keep their places."
  type        = number
  default     = 5

  validation {
    condition     = var.sweep_late_minutes >= 2 && var.sweep_late_minutes <= 60 && floor(var.sweep_late_minutes) == var.sweep_late_minutes
    error_message = "sweep_late_minutes must be a whole number from 2 to 60."
  }
}
