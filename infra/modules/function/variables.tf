variable "name" {
  description = "Name of the function, its role and its log group."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9-]{1,64}$", var.name))
    error_message = "name must be 1 to 64 letters, digits and hyphens."
  }
}

variable "package" {
  description = "Path of the zip with the executable `bootstrap`."
  type        = string

  validation {
    condition     = endswith(var.package, ".zip")
    error_message = "package must be the path of a zip file."
  }
}

variable "architecture" {
  description = "`arm64` or `x86_64`."
  type        = string

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "memory_mb" {
  description = "Memory in MB."
  type        = number

  validation {
    condition     = var.memory_mb >= 128 && var.memory_mb <= 10240
    error_message = "memory_mb must be from 128 to 10240."
  }
}

variable "timeout_s" {
  description = "Timeout of an invocation in seconds."
  type        = number

  validation {
    condition     = var.timeout_s >= 1 && var.timeout_s <= 900
    error_message = "timeout_s must be from 1 to 900."
  }
}

variable "reserved_concurrency" {
  description = "Reserved concurrency: the function's maximum, and always available. Null: none."
  type        = number
  default     = null

  validation {
    condition     = var.reserved_concurrency == null ? true : var.reserved_concurrency >= 0
    error_message = "reserved_concurrency must be at least 0, or null."
  }
}

variable "environment" {
  description = "Environment variables. Everyone who may read the function's configuration sees them: no secrets."
  type        = map(string)

  validation {
    condition     = alltrue([for name in keys(var.environment) : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "environment must have names of upper-case letters, digits and underscores."
  }
}

variable "statements" {
  description = "Permissions of the function, besides writing its own log."
  type = list(object({
    Sid       = string
    Action    = list(string)
    Resource  = list(string)
    Condition = optional(map(map(list(string))))
  }))

  validation {
    condition     = alltrue(flatten([for statement in var.statements : [for action in statement.Action : !strcontains(action, "*")]]))
    error_message = "statements must name each action; none may hold a *."
  }

  validation {
    condition     = alltrue(flatten([for statement in var.statements : [for resource in statement.Resource : resource != "*"]]))
    error_message = "statements must name their resources; none may be *."
  }
}

variable "log_level" {
  description = "The lowest level that reaches the log."
  type        = string

  validation {
    condition     = contains(["trace", "debug", "info", "warn", "error"], var.log_level)
    error_message = "log_level must be trace, debug, info, warn or error."
  }
}

variable "log_retention_days" {
  description = "Days that the log is kept."
  type        = number

  validation {
    condition     = var.log_retention_days >= 1
    error_message = "log_retention_days must be at least 1: a log that never expires only grows dearer."
  }
}

variable "tracing" {
  description = "Whether X-Ray samples the function."
  type        = bool
}
