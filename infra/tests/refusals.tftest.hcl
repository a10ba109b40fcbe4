# A plan refuses values that would fail in the middle of an apply, or work and do harm.

provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "nobody"
  secret_key                  = "nothing"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

variables {
  package_dir          = "./tests/packages"
  generate_token_key   = false
  generate_catalog_key = false
}

run "an_upper_case_name" {
  command = plan

  variables {
    name = "Tidegate"
  }

  expect_failures = [var.name]
}

run "a_name_too_long_for_the_bucket" {
  command = plan

  variables {
    name = "a-very-long-name-of-21"
  }

  expect_failures = [var.name]
}

run "an_unknown_architecture" {
  command = plan

  variables {
    architecture = "riscv64"
  }

  expect_failures = [var.architecture]
}

run "too_little_memory" {
  command = plan

  variables {
    memory_mb = { check = 64 }
  }

  expect_failures = [var.memory_mb]
}

run "a_reservation_that_turns_every_device_away" {
  command = plan

  variables {
    check_reserved_concurrency = 0
  }

  expect_failures = [var.check_reserved_concurrency]
}

run "an_unknown_log_level" {
  command = plan

  variables {
    log_level = "verbose"
  }

  expect_failures = [var.log_level]
}

run "a_log_that_never_expires" {
  command = plan

  variables {
    log_retention_days = 0
  }

  expect_failures = [var.log_retention_days]
}

run "a_revision_that_is_no_number_of_times" {
  command = plan

  variables {
    token_keys_revision = 1.5
  }

  expect_failures = [var.token_keys_revision]
}

run "a_recovery_window_unknown_to_aws" {
  command = plan

  variables {
    secret_recovery_days = 3
  }

  expect_failures = [var.secret_recovery_days]
}

run "a_bucket_name_with_dots" {
  command = plan

  variables {
    bucket_name = "images.example.com"
  }

  expect_failures = [var.bucket_name]
}

run "an_api_that_lets_nothing_through" {
  command = plan

  variables {
    throttle_rate = 0
  }

  expect_failures = [var.throttle_rate]
}

run "half_a_request" {
  command = plan

  variables {
    throttle_burst = 1.5
  }

  expect_failures = [var.throttle_burst]
}

run "a_domain_with_a_scheme" {
  command = plan

  variables {
    domain = { name = "https://updates.example.com", certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/a" }
  }

  expect_failures = [var.domain]
}

run "a_truststore_without_a_certificate" {
  command = plan

  variables {
    domain = { name = "updates.example.com", certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/a", truststore_pem = "device-ca.pem" }
  }

  expect_failures = [var.domain]
}

run "a_private_key_for_the_cdn" {
  command = plan

  variables {
    cdn = { public_key_pem = "-----BEGIN PRIVATE KEY-----" }
  }

  expect_failures = [var.cdn]
}

run "an_rsa_key_for_the_cdn" {
  command = plan

  variables {
    cdn = { public_key_pem = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----\n" }
  }

  expect_failures = [var.cdn]
}

run "a_cdn_certificate_from_another_region" {
  command = plan

  variables {
    cdn = { public_key_pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoeoV+xIY73ytOOH8Pa6hvvkeE7za\nAGd+CQj++Ym3rug4FF2eYbNb4r0tar+xZ3jg9WpiV87s9w3TLYeWc1JgUQ==\n-----END PUBLIC KEY-----\n", domain = { name = "images.example.com", certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/a" } }
  }

  expect_failures = [var.cdn]
}

run "an_alarm_action_that_is_an_address" {
  command = plan

  variables {
    alarm_actions = ["on-call@example.com"]
  }

  expect_failures = [var.alarm_actions]
}

run "a_p99_of_nothing" {
  command = plan

  variables {
    check_p99_ms = 0
  }

  expect_failures = [var.check_p99_ms]
}

run "a_sweep_that_is_late_at_once" {
  command = plan

  variables {
    sweep_late_minutes = 1
  }

  expect_failures = [var.sweep_late_minutes]
}

run "an_empty_package_dir" {
  command = plan

  variables {
    package_dir = ""
  }

  expect_failures = [var.package_dir]
}
