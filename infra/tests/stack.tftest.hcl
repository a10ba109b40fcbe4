# The resources of the stack, and the effect of the variables.

# The real provider without an account: it checks and plans, and the overrides below replace AWS's answers.
# A mocked provider does not work: it refuses configurations with ephemeral resources.
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

override_resource {
  target          = aws_dynamodb_table.this
  override_during = plan
  values          = { arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate", stream_arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate/stream/2026-11-28T00:00:00.000" }
}

override_resource {
  target          = aws_s3_bucket.images
  override_during = plan
  values          = { id = "tidegate-images-123456789012-eu-west-1", arn = "arn:aws:s3:::tidegate-images-123456789012-eu-west-1", bucket_regional_domain_name = "tidegate-images-123456789012-eu-west-1.s3.eu-west-1.amazonaws.com" }
}

override_resource {
  target          = aws_sqs_queue.dead_letters
  override_during = plan
  values          = { arn = "arn:aws:sqs:eu-west-1:123456789012:tidegate-dead-letters" }
}

override_resource {
  target          = aws_secretsmanager_secret.token_keys
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/token-keys-AbCdEf" }
}

override_resource {
  target          = aws_secretsmanager_secret.catalog_key
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/catalog-key-MnOpQr" }
}

override_resource {
  target          = aws_secretsmanager_secret.cdn_key
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/cdn-key-AbCdEf" }
}

override_resource {
  target          = aws_apigatewayv2_api.this
  override_during = plan
  values          = { id = "api", api_endpoint = "https://api.execute-api.eu-west-1.amazonaws.com", execution_arn = "arn:aws:execute-api:eu-west-1:123456789012:api" }
}

override_resource {
  target          = aws_cloudfront_distribution.images
  override_during = plan
  values          = { arn = "arn:aws:cloudfront::123456789012:distribution/IMAGES", domain_name = "images.cloudfront.net" }
}

override_resource {
  target          = aws_cloudfront_public_key.images
  override_during = plan
  values          = { id = "PUBLICKEY" }
}

override_resource {
  target          = module.function["check"].aws_cloudwatch_log_group.this
  override_during = plan
  values          = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-check" }
}

override_resource {
  target          = module.function["check"].aws_lambda_alias.live
  override_during = plan
  values          = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-check:live", invoke_arn = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:tidegate-check:live/invocations" }
}

override_resource {
  target          = module.function["report"].aws_cloudwatch_log_group.this
  override_during = plan
  values          = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-report" }
}

override_resource {
  target          = module.function["report"].aws_lambda_alias.live
  override_during = plan
  values          = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-report:live", invoke_arn = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:tidegate-report:live/invocations" }
}

override_resource {
  target          = module.function["count"].aws_cloudwatch_log_group.this
  override_during = plan
  values          = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-count" }
}

override_resource {
  target          = module.function["count"].aws_lambda_alias.live
  override_during = plan
  values          = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-count:live", invoke_arn = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:tidegate-count:live/invocations" }
}

override_resource {
  target          = module.function["publish"].aws_cloudwatch_log_group.this
  override_during = plan
  values          = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-publish" }
}

override_resource {
  target          = module.function["publish"].aws_lambda_alias.live
  override_during = plan
  values          = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-publish:live", invoke_arn = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:tidegate-publish:live/invocations" }
}

override_resource {
  target          = module.function["sweep"].aws_cloudwatch_log_group.this
  override_during = plan
  values          = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-sweep" }
}

override_resource {
  target          = module.function["sweep"].aws_lambda_alias.live
  override_during = plan
  values          = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-sweep:live", invoke_arn = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:tidegate-sweep:live/invocations" }
}

override_resource {
  target          = module.function["verify"].aws_cloudwatch_log_group.this
  override_during = plan
  values          = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-verify" }
}

override_resource {
  target          = module.function["verify"].aws_lambda_alias.live
  override_during = plan
  values          = { arn = "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-verify:live", invoke_arn = "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:tidegate-verify:live/invocations" }
}

override_resource {
  target          = aws_s3_object.truststore
  override_during = plan
  values          = { version_id = "third" }
}

override_resource {
  target          = aws_iam_role.schedule
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/tidegate-schedule" }
}

variables {
  package_dir = "./tests/packages"
  # A plan would open the ephemeral resource, which asks AWS for random letters.
  generate_token_key   = false
  generate_catalog_key = false
}

run "the_table_is_on_demand_protected_and_can_be_restored" {
  command = plan

  assert {
    condition     = aws_dynamodb_table.this.billing_mode == "PAY_PER_REQUEST" && aws_dynamodb_table.this.deletion_protection_enabled && aws_dynamodb_table.this.point_in_time_recovery[0].enabled
    error_message = "the table can be lost, or is paid for while idle"
  }

  assert {
    condition     = aws_dynamodb_table.this.hash_key == "pk" && aws_dynamodb_table.this.range_key == "sk" && { for attribute in aws_dynamodb_table.this.attribute : attribute.name => attribute.type } == { pk = "S", sk = "S", on = "S", id = "S" }
    error_message = "the table's keys are not those of crates/tidegate-store/src/schema.rs"
  }

  assert {
    condition     = [for index in aws_dynamodb_table.this.global_secondary_index : [index.name, index.hash_key, index.range_key, index.projection_type]] == [["versions", "on", "id", "KEYS_ONLY"]]
    error_message = "the index is not that of crates/tidegate-store/src/schema.rs"
  }

  assert {
    condition     = length(aws_dynamodb_table.this.ttl) == 0
    error_message = "nothing may expire by itself: no evidence disappears"
  }
}

run "every_change_of_a_device_or_an_update_is_handed_over_in_order_and_none_is_skipped" {
  command = plan

  assert {
    condition     = aws_dynamodb_table.this.stream_enabled && aws_dynamodb_table.this.stream_view_type == "NEW_AND_OLD_IMAGES"
    error_message = "count cannot compare what was with what is"
  }

  assert {
    condition     = aws_lambda_event_source_mapping.count.event_source_arn == "arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate/stream/2026-11-28T00:00:00.000" && aws_lambda_event_source_mapping.count.function_name == "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-count:live" && aws_lambda_event_source_mapping.count.starting_position == "TRIM_HORIZON"
    error_message = "the stream is not read from its beginning by the alias of count"
  }

  assert {
    condition     = [aws_lambda_event_source_mapping.count.batch_size, aws_lambda_event_source_mapping.count.maximum_batching_window_in_seconds, aws_lambda_event_source_mapping.count.parallelization_factor] == [2000, 5, 1]
    error_message = "batches are larger or later than designed, or a tally has two writers"
  }

  # Without a window of time the events do not name their stream shard.
  assert {
    condition     = aws_lambda_event_source_mapping.count.tumbling_window_in_seconds > 0
    error_message = "count does not learn from which stream shard a batch is"
  }

  assert {
    condition     = aws_lambda_event_source_mapping.count.maximum_retry_attempts == -1 && aws_lambda_event_source_mapping.count.maximum_record_age_in_seconds == -1 && !aws_lambda_event_source_mapping.count.bisect_batch_on_function_error && length(coalesce(aws_lambda_event_source_mapping.count.function_response_types, [])) == 0
    error_message = "records could be skipped, or a part of a batch acknowledged"
  }

  assert {
    condition     = [for filter in one(aws_lambda_event_source_mapping.count.filter_criteria).filter : jsondecode(filter.pattern)] == [{ dynamodb = { Keys = { sk = { S = ["device", { prefix = "update#" }] } } } }]
    error_message = "count gets other records than those of devices and updates"
  }
}

run "deletion_protection_can_be_turned_off" {
  command = plan

  variables {
    table_deletion_protection = false
  }

  assert {
    condition     = !aws_dynamodb_table.this.deletion_protection_enabled
    error_message = "a trial stack could not be destroyed"
  }
}

run "the_bucket_is_private_and_keeps_every_version" {
  command = plan

  assert {
    condition     = aws_s3_bucket.images.bucket == "tidegate-images-123456789012-eu-west-1"
    error_message = "the bucket is called ${aws_s3_bucket.images.bucket}"
  }

  assert {
    condition     = alltrue([aws_s3_bucket_public_access_block.images.block_public_acls, aws_s3_bucket_public_access_block.images.block_public_policy, aws_s3_bucket_public_access_block.images.ignore_public_acls, aws_s3_bucket_public_access_block.images.restrict_public_buckets])
    error_message = "the bucket could become public"
  }

  assert {
    condition     = aws_s3_bucket_versioning.images.versioning_configuration[0].status == "Enabled" && one(aws_s3_bucket_ownership_controls.images.rule).object_ownership == "BucketOwnerEnforced"
    error_message = "the bucket keeps no versions, or knows ACLs"
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.images.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "images are not encrypted"
  }

  assert {
    condition = jsonencode({ for rule in aws_s3_bucket_lifecycle_configuration.images.rule : rule.id => [
      one(rule.filter).prefix == "catalogs/", rule.abort_incomplete_multipart_upload[*].days_after_initiation, rule.noncurrent_version_expiration[*].noncurrent_days, rule.expiration[*].days, rule.expiration[*].expired_object_delete_marker
      ] }) == jsonencode({
      abandoned-uploads   = [false, [7], [], [], []]
      old-catalogs        = [true, [], [1], [0], [true]]
      old-fleet-snapshots = [false, [], [1], [], []]
    })
    error_message = "a version that a live update names could expire, or a catalog that is in force, or old catalogs never do: ${jsonencode(aws_s3_bucket_lifecycle_configuration.images.rule)}"
  }

  assert {
    condition     = aws_s3_bucket.images.force_destroy != true
    error_message = "the bucket could be destroyed with its images"
  }
}

run "a_bucket_can_be_named" {
  command = plan

  variables {
    bucket_name = "our-firmware"
  }

  assert {
    condition     = aws_s3_bucket.images.bucket == "our-firmware"
    error_message = "the bucket is called ${aws_s3_bucket.images.bucket}"
  }
}

run "six_functions_with_the_environment_they_read" {
  command = plan

  assert {
    condition = jsonencode({ for name, function in module.function : name => function.configuration.environment }) == jsonencode({
      check = {
        TIDEGATE_TABLE                = "tidegate"
        TIDEGATE_LOG                  = "info"
        TIDEGATE_BUCKET               = "tidegate-images-123456789012-eu-west-1"
        TIDEGATE_TOKEN_KEYS_SECRET    = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/token-keys-AbCdEf"
        TIDEGATE_TOKEN_KEYS_REVISION  = "1"
        TIDEGATE_CATALOG_KEY_SECRET   = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/catalog-key-MnOpQr"
        TIDEGATE_CATALOG_KEY_REVISION = "1"
      }
      report = {
        TIDEGATE_TABLE               = "tidegate"
        TIDEGATE_LOG                 = "info"
        TIDEGATE_BUCKET              = "tidegate-images-123456789012-eu-west-1"
        TIDEGATE_TOKEN_KEYS_SECRET   = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/token-keys-AbCdEf"
        TIDEGATE_TOKEN_KEYS_REVISION = "1"
      }
      publish = {
        TIDEGATE_TABLE                = "tidegate"
        TIDEGATE_LOG                  = "info"
        TIDEGATE_BUCKET               = "tidegate-images-123456789012-eu-west-1"
        TIDEGATE_TOKEN_KEYS_SECRET    = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/token-keys-AbCdEf"
        TIDEGATE_TOKEN_KEYS_REVISION  = "1"
        TIDEGATE_CATALOG_KEY_SECRET   = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/catalog-key-MnOpQr"
        TIDEGATE_CATALOG_KEY_REVISION = "1"
      }
      count = {
        TIDEGATE_TABLE  = "tidegate"
        TIDEGATE_LOG    = "info"
        TIDEGATE_BUCKET = "tidegate-images-123456789012-eu-west-1"
      }
      sweep = {
        TIDEGATE_TABLE                = "tidegate"
        TIDEGATE_LOG                  = "info"
        TIDEGATE_BUCKET               = "tidegate-images-123456789012-eu-west-1"
        TIDEGATE_CATALOG_KEY_SECRET   = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/catalog-key-MnOpQr"
        TIDEGATE_CATALOG_KEY_REVISION = "1"
      }
      verify = {
        TIDEGATE_TABLE  = "tidegate"
        TIDEGATE_LOG    = "info"
        TIDEGATE_BUCKET = "tidegate-images-123456789012-eu-west-1"
      }
    })
    error_message = "the environments are ${jsonencode({ for name, function in module.function : name => function.configuration.environment })}"
  }

  assert {
    condition     = alltrue([for function in module.function : function.configuration.runtime == "provided.al2023" && function.configuration.architecture == "arm64" && function.configuration.is_published && function.configuration.alias == "live"])
    error_message = "a function is not a published arm64 build behind an alias"
  }

  assert {
    condition     = [for name, function in module.function : [name, function.configuration.memory_mb, function.configuration.timeout_s]] == [["check", 256, 10], ["count", 512, 120], ["publish", 1024, 29], ["report", 256, 10], ["sweep", 256, 300], ["verify", 1769, 900]]
    error_message = "memory or time of a function is another"
  }

  assert {
    condition     = alltrue([for function in module.function : function.configuration.reserved_concurrency == -1 && function.configuration.tracing == "PassThrough"])
    error_message = "a function reserves environments or is traced without being asked to"
  }
}

run "every_function_logs_json_into_a_group_that_was_there_before" {
  command = plan

  assert {
    condition = { for name, function in module.function : name => function.configuration.logging } == { for name in ["check", "count", "publish", "report", "sweep", "verify"] : name => {
      log_format            = "JSON"
      application_log_level = "INFO"
      system_log_level      = "WARN"
      log_group             = "/aws/lambda/tidegate-${name}"
    } }
    error_message = "the functions log as ${jsonencode({ for name, function in module.function : name => function.configuration.logging })}"
  }

  assert {
    condition     = alltrue([for function in module.function : function.configuration.log_group.name == function.configuration.logging.log_group && function.configuration.log_group.retention_days == 30])
    error_message = "a function logs into a group that is not made here"
  }
}

run "knobs_of_the_functions_reach_them" {
  command = plan

  variables {
    name                       = "stage"
    architecture               = "x86_64"
    memory_mb                  = { check = 512 }
    check_reserved_concurrency = 50
    log_level                  = "debug"
    log_retention_days         = 90
    tracing                    = true
    token_keys_revision        = 2
  }

  assert {
    condition     = alltrue([for function in module.function : function.configuration.architecture == "x86_64" && function.configuration.log_group.retention_days == 90 && function.configuration.tracing == "Active"])
    error_message = "architecture, retention or tracing does not reach every function"
  }

  assert {
    condition     = [for function in module.function : [function.function_name, function.configuration.memory_mb, function.configuration.reserved_concurrency]] == [["stage-check", 512, 50], ["stage-count", 512, -1], ["stage-publish", 1024, -1], ["stage-report", 256, -1], ["stage-sweep", 256, -1], ["stage-verify", 1769, -1]]
    error_message = "memory or concurrency reaches other functions than it should"
  }

  assert {
    condition     = alltrue([for function in module.function : function.configuration.environment.TIDEGATE_LOG == "debug" && function.configuration.logging.application_log_level == "DEBUG"])
    error_message = "Lambda would drop what the function logs"
  }

  assert {
    condition     = [for name, function in module.function : name if lookup(function.configuration.environment, "TIDEGATE_TOKEN_KEYS_REVISION", "") == "2"] == ["check", "publish", "report"]
    error_message = "a new revision does not reach every function that reads the keys"
  }
}

run "a_quiet_log_keeps_the_metrics" {
  command = plan

  variables {
    log_level = "error"
  }

  assert {
    condition     = alltrue([for function in module.function : function.configuration.environment.TIDEGATE_LOG == "error" && function.configuration.logging.application_log_level == "INFO"])
    error_message = "Lambda would drop metrics, which have no level"
  }
}

run "operators_sign_and_devices_do_not" {
  command = plan

  assert {
    condition     = length(aws_apigatewayv2_route.this) == 77 && alltrue([for route in aws_apigatewayv2_route.this : (route.authorization_type == "AWS_IAM") == can(regex(" /(v1/products|otao)/", route.route_key))])
    error_message = "a route has the wrong authorization: ${jsonencode(output.routes)}"
  }

  assert {
    condition     = length([for route in aws_apigatewayv2_route.this : route.route_key if route.authorization_type == "NONE"]) == 27 && alltrue([for route in aws_apigatewayv2_route.this : can(regex("^[A-Z]+ /(v1/(check|report)|tok/provision/|device/register|[{]tenant[}]/controller/v1/|onep:v1/stack/|provision/|kpc/kp1/)", route.route_key)) if route.authorization_type == "NONE"])
    error_message = "other routes than the devices' are open"
  }

  assert {
    condition = toset([for route, to in output.routes : route if to.function == "report"]) == toset([
      "POST /v1/report",
      "POST /tok/provision/updateReport",
      "POST /{tenant}/controller/v1/{controller}/deploymentBase/{action}/feedback",
      "POST /{tenant}/controller/v1/{controller}/cancelAction/{action}/feedback",
      "POST /{tenant}/controller/v1/{controller}/confirmationBase/{action}/feedback",
      "POST /onep:v1/stack/alias",
      "POST /onep:v1/stack/record",
      "POST /kpc/kp1/{app_version}/cmx_ota/{token}/applied/json",
      "POST /kpc/kp1/{app_version}/cmx_ota/{token}/applied/json/{request}",
    ]) && alltrue([for route, to in output.routes : contains(["check", "report"], to.function) if !can(regex(" /(v1/products|otao)/", route))])
    error_message = "a device's route leads to another function"
  }

  assert {
    condition     = alltrue([for name, integration in aws_apigatewayv2_integration.function : integration.payload_format_version == "2.0" && integration.integration_uri == "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/arn:aws:lambda:eu-west-1:123456789012:function:tidegate-${name}:live/invocations"])
    error_message = "an integration does not call the alias of its function"
  }

  assert {
    condition     = alltrue([for name, integration in aws_apigatewayv2_integration.function : integration.timeout_milliseconds == (module.function[name].configuration.timeout_s + 1) * 1000])
    error_message = "API Gateway gives up before the function does"
  }
}

run "a_request_may_wait_as_long_as_the_function_is_told_to_let_it" {
  command = plan

  variables {
    longest_poll_s = 15
  }

  assert {
    condition     = module.function["check"].configuration.environment.TIDEGATE_LONGEST_POLL_S == "15" && module.function["check"].configuration.timeout_s == 25
    error_message = "the check function does not wait, or ends while it does"
  }
}

run "every_function_trusts_whom_it_is_told_to" {
  command = plan

  variables {
    ca_bundle = "/opt/roots.pem"
  }

  assert {
    condition     = alltrue([for function in module.function : function.configuration.environment.AWS_CA_BUNDLE == "/opt/roots.pem"])
    error_message = "a function trusts Amazon's roots though it was told not to"
  }
}

run "the_api_is_throttled" {
  command = plan

  assert {
    condition     = [for settings in aws_apigatewayv2_stage.this.default_route_settings : [settings.throttling_rate_limit, settings.throttling_burst_limit]] == [[1000, 2000]] && aws_apigatewayv2_stage.this.name == "$default"
    error_message = "the API takes as much as the whole account may"
  }
}

run "throttles_can_be_set_and_requests_logged" {
  command = plan

  variables {
    throttle_rate  = 50
    throttle_burst = 100
    access_log     = true
  }

  assert {
    condition     = [for settings in aws_apigatewayv2_stage.this.default_route_settings : [settings.throttling_rate_limit, settings.throttling_burst_limit]] == [[50, 100]]
    error_message = "the throttles are not those that were set"
  }

  assert {
    condition     = length(aws_apigatewayv2_stage.this.access_log_settings) == 1 && aws_cloudwatch_log_group.access[0].retention_in_days == 30
    error_message = "requests are not logged, or for ever"
  }
}

run "without_a_domain_the_api_has_its_own_address" {
  command = plan

  assert {
    condition     = !aws_apigatewayv2_api.this.disable_execute_api_endpoint && output.api_url == "https://api.execute-api.eu-west-1.amazonaws.com" && length(aws_apigatewayv2_domain_name.this) == 0 && output.domain_target == null
    error_message = "the API cannot be reached"
  }

  assert {
    condition     = length(aws_apigatewayv2_stage.this.access_log_settings) == 0 && length(aws_cloudwatch_log_group.access) == 0
    error_message = "requests are logged without being asked for"
  }
}

run "a_truststore_leaves_no_way_round_it" {
  command = plan

  variables {
    domain = {
      name            = "updates.example.com"
      certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"
      truststore_pem  = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    }
  }

  assert {
    condition     = aws_apigatewayv2_api.this.disable_execute_api_endpoint
    error_message = "a device without a certificate could use the API's own address"
  }

  assert {
    condition     = jsonencode([for mutual_tls in aws_apigatewayv2_domain_name.this[0].mutual_tls_authentication : [mutual_tls.truststore_uri, mutual_tls.truststore_version]]) == jsonencode([["s3://tidegate-images-123456789012-eu-west-1/truststore/device-ca.pem", "third"]])
    error_message = "the domain would not see a new truststore"
  }

  assert {
    condition     = output.api_url == "https://updates.example.com" && one(aws_apigatewayv2_domain_name.this[0].domain_name_configuration).security_policy == "TLS_1_2"
    error_message = "the API is at ${output.api_url}"
  }

  assert {
    condition     = !anytrue([for function in module.function : strcontains(function.policy, "truststore")])
    error_message = "a function may touch the truststore"
  }
}

run "a_domain_may_do_without_client_certificates" {
  command = plan

  variables {
    domain = {
      name            = "updates.example.com"
      certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"
    }
  }

  assert {
    condition     = length(aws_apigatewayv2_domain_name.this[0].mutual_tls_authentication) == 0 && length(aws_s3_object.truststore) == 0 && aws_apigatewayv2_api.this.disable_execute_api_endpoint
    error_message = "there is a truststore that nobody gave, or a second address"
  }
}

run "the_sweep_runs_each_minute_and_failures_are_kept" {
  command = plan

  assert {
    condition     = aws_scheduler_schedule.sweep.schedule_expression == "rate(1 minute)" && aws_scheduler_schedule.sweep.target[0].arn == "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-sweep:live"
    error_message = "the sweep is not started each minute"
  }

  assert {
    condition     = [for target in aws_scheduler_schedule.sweep.target : [target.dead_letter_config[0].arn, target.retry_policy[0].maximum_retry_attempts, target.retry_policy[0].maximum_event_age_in_seconds]] == [["arn:aws:sqs:eu-west-1:123456789012:tidegate-dead-letters", 2, 60]]
    error_message = "a sweep that cannot be started leaves no trace"
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.sweep.destination_config[0].on_failure[0].destination == "arn:aws:sqs:eu-west-1:123456789012:tidegate-dead-letters" && aws_lambda_function_event_invoke_config.sweep.qualifier == "live"
    error_message = "a sweep that fails leaves no trace"
  }

  assert {
    condition     = aws_sqs_queue.dead_letters.sqs_managed_sse_enabled && aws_sqs_queue.dead_letters.message_retention_seconds == 1209600
    error_message = "the queue is not encrypted, or forgets"
  }
}

run "large_images_are_read_by_a_function_of_their_own" {
  command = plan

  assert {
    condition     = aws_scheduler_schedule.verify.schedule_expression == "rate(1 minute)" && aws_scheduler_schedule.verify.target[0].arn == "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-verify:live"
    error_message = "nothing reads large images"
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.verify.maximum_retry_attempts == 0 && [for target in aws_scheduler_schedule.verify.target : target.dead_letter_config[0].arn] == ["arn:aws:sqs:eu-west-1:123456789012:tidegate-dead-letters"]
    error_message = "a start that fails is repeated while its image is taken, or leaves no trace"
  }
}

run "the_counts_are_compared_each_week_and_failures_are_kept" {
  command = plan

  assert {
    condition     = aws_scheduler_schedule.recount.schedule_expression == "rate(7 days)" && aws_scheduler_schedule.recount.target[0].arn == "arn:aws:lambda:eu-west-1:123456789012:function:tidegate-sweep:live" && jsondecode(aws_scheduler_schedule.recount.target[0].input) == { recount = true }
    error_message = "nothing compares the counts with the devices"
  }

  assert {
    condition     = [for target in aws_scheduler_schedule.recount.target : target.dead_letter_config[0].arn] == ["arn:aws:sqs:eu-west-1:123456789012:tidegate-dead-letters"]
    error_message = "a recount that cannot be started leaves no trace"
  }
}

run "there_is_an_alarm_for_each_thing_that_goes_wrong" {
  command = plan

  variables {
    alarm_actions = ["arn:aws:sns:eu-west-1:123456789012:on-call"]
  }

  assert {
    condition = output.alarm_names == sort(concat(
      flatten([for name in ["check", "count", "publish", "report", "sweep", "verify"] : ["tidegate-${name}-errors", "tidegate-${name}-throttles"]]),
      ["tidegate-api-5xx", "tidegate-catalogs-unreadable", "tidegate-check-p99", "tidegate-count-late", "tidegate-count-losing", "tidegate-dead-letters", "tidegate-drift", "tidegate-rollout-held", "tidegate-sweep-late", "tidegate-sweep-records-failed", "tidegate-sweep-slow", "tidegate-table-errors", "tidegate-table-throttles", "tidegate-unreadable-records"],
    ))
    error_message = "the alarms are ${jsonencode(output.alarm_names)}"
  }

  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.count), values(aws_cloudwatch_metric_alarm.age), [aws_cloudwatch_metric_alarm.check_p99, aws_cloudwatch_metric_alarm.sweep_late, aws_cloudwatch_metric_alarm.sweep_slow, aws_cloudwatch_metric_alarm.dead_letters, aws_cloudwatch_metric_alarm.table_throttles, aws_cloudwatch_metric_alarm.table_errors]) : alarm.alarm_actions == toset(["arn:aws:sns:eu-west-1:123456789012:on-call"]) && alarm.ok_actions == alarm.alarm_actions && alarm.alarm_description != ""])
    error_message = "an alarm tells nobody, or does not say what it means"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.sweep_late.treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.sweep_late.evaluation_periods == 5 && aws_cloudwatch_metric_alarm.sweep_late.metric_name == "SweepFinished" && aws_cloudwatch_metric_alarm.sweep_late.comparison_operator == "LessThanThreshold"
    error_message = "a sweep that does not run at all would raise no alarm"
  }

  assert {
    condition     = { for name, alarm in aws_cloudwatch_metric_alarm.age : name => [alarm.metric_name, alarm.statistic, alarm.dimensions["FunctionName"], tostring(alarm.threshold), tostring(alarm.datapoints_to_alarm)] } == { count-late = ["IteratorAge", "Maximum", "tidegate-count", "300000", "3"], count-losing = ["IteratorAge", "Maximum", "tidegate-count", "72000000", "1"] }
    error_message = "records could be lost before anybody is told: ${jsonencode(aws_cloudwatch_metric_alarm.age)}"
  }

  assert {
    condition     = alltrue([for name, metric in { unreadable-records = "UnreadableRecords", drift = "Drift" } : aws_cloudwatch_metric_alarm.count[name].metric_name == metric && aws_cloudwatch_metric_alarm.count[name].threshold == 0 && aws_cloudwatch_metric_alarm.count[name].evaluation_periods == 1])
    error_message = "a number that is wrong would raise no alarm"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.sweep_slow.metric_name == "SweepMs" && aws_cloudwatch_metric_alarm.sweep_slow.statistic == "Maximum" && aws_cloudwatch_metric_alarm.sweep_slow.threshold == 60000
    error_message = "sweeps that overlap would raise no alarm"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.count["rollout-held"].evaluation_periods == 1 && aws_cloudwatch_metric_alarm.count["rollout-held"].threshold == 0 && aws_cloudwatch_metric_alarm.count["rollout-held"].namespace == "Tidegate"
    error_message = "one rollout that was stopped would raise no alarm"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.count["catalogs-unreadable"].evaluation_periods == 1 && aws_cloudwatch_metric_alarm.count["catalogs-unreadable"].threshold == 0 && aws_cloudwatch_metric_alarm.count["catalogs-unreadable"].metric_name == "CatalogsUnreadable"
    error_message = "a catalog that cannot be read would raise no alarm"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.check_p99.extended_statistic == "p99" && aws_cloudwatch_metric_alarm.check_p99.threshold == 500 && aws_cloudwatch_metric_alarm.check_p99.dimensions == tomap({ FunctionName = "tidegate-check" })
    error_message = "slow check-ins would raise no alarm"
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.table_throttles.metric_query) == 5 && length(aws_cloudwatch_metric_alarm.table_errors.metric_query) == 8
    error_message = "an alarm of the table does not add up what it should"
  }
}

run "no_metric_has_a_dimension_for_each_device" {
  command = plan

  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.count), [aws_cloudwatch_metric_alarm.sweep_late, aws_cloudwatch_metric_alarm.sweep_slow]) : length(coalesce(alarm.dimensions, {})) == 0 if alarm.namespace == "Tidegate"])
    error_message = "an alarm on our metrics has a dimension"
  }

  assert {
    condition     = toset(flatten(regexall("\\{Tidegate,?([A-Za-z,]*)\\}", aws_cloudwatch_dashboard.this.dashboard_body))) == toset(["Product"])
    error_message = "the dashboard searches for other dimensions than Product"
  }
}

run "the_dashboard_has_every_rollout_metric" {
  command = plan

  assert {
    condition     = alltrue([for metric in ["Offered", "InFlight", "Proved", "Failed", "Reverted", "Lost", "LiveUpdates", "RolloutsHeld", "CatalogsUnreadable", "SweepFinished", "SweepMs", "RecordsFailed", "IteratorAge", "UnreadableRecords", "Drift", "SchemaAhead", "ConsumedWriteCapacityUnits", "IntegrationLatency"] : strcontains(aws_cloudwatch_dashboard.this.dashboard_body, metric)])
    error_message = "a metric is missing: ${aws_cloudwatch_dashboard.this.dashboard_body}"
  }

  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets) == 20 && length(distinct([for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : [widget.x, widget.y]])) == 20
    error_message = "widgets lie on each other"
  }
}

run "no_cdn_unless_asked_for" {
  command = plan

  assert {
    condition     = length(aws_cloudfront_distribution.images) + length(aws_cloudfront_key_group.images) + length(aws_secretsmanager_secret.cdn_key) == 0 && output.cdn_url == null && output.cdn_key_secret_arn == null
    error_message = "there is a part of a CDN"
  }
}

run "a_cdn_serves_signed_urls_only" {
  command = plan

  variables {
    cdn = { public_key_pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoeoV+xIY73ytOOH8Pa6hvvkeE7za\nAGd+CQj++Ym3rug4FF2eYbNb4r0tar+xZ3jg9WpiV87s9w3TLYeWc1JgUQ==\n-----END PUBLIC KEY-----\n" }
  }

  assert {
    condition = { for name, value in module.function["check"].configuration.environment : name => value if startswith(name, "TIDEGATE_CDN_") } == {
      TIDEGATE_CDN_URL        = "https://images.cloudfront.net"
      TIDEGATE_CDN_KEY_ID     = "PUBLICKEY"
      TIDEGATE_CDN_KEY_SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/cdn-key-AbCdEf"
    }
    error_message = "check is told ${jsonencode(module.function["check"].configuration.environment)}"
  }

  assert {
    condition     = [for name, function in module.function : name if anytrue([for variable in keys(function.configuration.environment) : startswith(variable, "TIDEGATE_CDN_")])] == ["check"]
    error_message = "another function than check is told of the CDN"
  }

  assert {
    condition     = one(aws_cloudfront_cache_policy.images[0].parameters_in_cache_key_and_forwarded_to_origin[0].query_strings_config[0].query_strings[0].items) == "versionId" && !aws_cloudfront_cache_policy.images[0].parameters_in_cache_key_and_forwarded_to_origin[0].enable_accept_encoding_gzip && aws_cloudfront_origin_access_control.images[0].signing_behavior == "always"
    error_message = "the cache would mix versions, or change bytes"
  }

  assert {
    condition     = output.cdn_url == "https://images.cloudfront.net" && output.cdn_key_secret_arn == "arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/cdn-key-AbCdEf"
    error_message = "the CDN cannot be set up further"
  }
}

run "a_cdn_can_have_its_own_name" {
  command = plan

  variables {
    cdn = {
      public_key_pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoeoV+xIY73ytOOH8Pa6hvvkeE7za\nAGd+CQj++Ym3rug4FF2eYbNb4r0tar+xZ3jg9WpiV87s9w3TLYeWc1JgUQ==\n-----END PUBLIC KEY-----\n"
      domain = {
        name            = "images.example.com"
        certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"
      }
    }
  }

  assert {
    condition     = output.cdn_url == "https://images.example.com" && module.function["check"].configuration.environment.TIDEGATE_CDN_URL == "https://images.example.com"
    error_message = "the CDN is at ${output.cdn_url}"
  }
}

run "a_deleted_secret_can_be_brought_back" {
  command = plan

  assert {
    condition     = aws_secretsmanager_secret.token_keys.recovery_window_in_days == 30 && aws_secretsmanager_secret.token_keys.name == "tidegate/token-keys" && length(aws_secretsmanager_secret_version.token_keys) == 0
    error_message = "one apply could make every token worthless"
  }
}
