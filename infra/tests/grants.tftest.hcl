# The exact permissions of every role: every action on every resource. A failed run prints the policy. The
# end-to-end test in tests/aws uses these roles and also fails if a grant is missing or unused.

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

variables {
  package_dir = "./tests/packages"
  # A plan would open the ephemeral resource, which asks AWS for random letters.
  generate_token_key   = false
  generate_catalog_key = false
}

run "check_may_do_this_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.functions["check"].policy).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}${try(" for ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])}", "")}${try(" in ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:Attributes"])}", "")}"]
      ]
      ])) == sort([
      "Allow dynamodb:GetItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #products d#* p#* s#*",
      "Allow dynamodb:Query arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #products d#* p#* s#*",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for d#* q#* s#*",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for p#* in catalog_name_* catalog_revision_* pk sk",
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/token-keys-AbCdEf",
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/catalog-key-MnOpQr",
      "Allow s3:GetObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/catalogs/*",
      "Allow s3:GetObjectVersion arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*",
      "Allow logs:CreateLogStream arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-check:*",
      "Allow logs:PutLogEvents arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-check:*",
    ])
    error_message = "check may do something else: ${output.functions["check"].policy}"
  }
}

run "report_may_do_this_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.functions["report"].policy).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}${try(" for ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])}", "")}${try(" in ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:Attributes"])}", "")}"]
      ]
      ])) == sort([
      "Allow dynamodb:GetItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for d#* p#*",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for d#*",
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/token-keys-AbCdEf",
      "Allow logs:CreateLogStream arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-report:*",
      "Allow logs:PutLogEvents arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-report:*",
    ])
    error_message = "report may do something else: ${output.functions["report"].policy}"
  }
}

run "count_may_do_this_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.functions["count"].policy).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}${try(" for ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])}", "")}${try(" in ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:Attributes"])}", "")}"]
      ]
      ])) == sort([
      "Allow dynamodb:GetItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for p#* t#*",
      "Allow dynamodb:Query arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for p#* t#*",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for p#* s#* t#*",
      "Allow dynamodb:PutItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for l#* o#* u#* x#*",
      "Allow dynamodb:DeleteItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for l#*",
      "Allow dynamodb:DescribeStream arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate/stream/*",
      "Allow dynamodb:GetRecords arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate/stream/*",
      "Allow dynamodb:GetShardIterator arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate/stream/*",
      "Allow dynamodb:ListStreams arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate/stream/*",
      "Allow logs:CreateLogStream arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-count:*",
      "Allow logs:PutLogEvents arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-count:*",
    ])
    error_message = "count may do something else: ${output.functions["count"].policy}"
  }
}

run "publish_may_do_this_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.functions["publish"].policy).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}${try(" for ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])}", "")}${try(" in ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:Attributes"])}", "")}"]
      ]
      ])) == sort([
      "Allow dynamodb:GetItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #verify d#* l#* p#* q#* r#* s#* t#* u#* v#* x#*",
      "Allow dynamodb:Query arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #verify d#* l#* p#* q#* r#* s#* t#* u#* v#* x#*",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #products d#* p#* s#*",
      "Allow dynamodb:PutItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #verify d#* p#* x#*",
      "Allow dynamodb:DeleteItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for p#*",
      "Allow dynamodb:Query arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate/index/versions",
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/token-keys-AbCdEf",
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/catalog-key-MnOpQr",
      "Allow s3:DeleteObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/catalogs/*",
      "Allow s3:PutObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/catalogs/*",
      "Allow s3:GetObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*",
      "Allow s3:PutObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*",
      "Allow s3:DeleteObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*",
      "Allow s3:ListMultipartUploadParts arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*",
      "Allow s3:ListBucketMultipartUploads arn:aws:s3:::tidegate-images-123456789012-eu-west-1",
      "Allow s3:ListBucket arn:aws:s3:::tidegate-images-123456789012-eu-west-1",
      "Allow logs:CreateLogStream arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-publish:*",
      "Allow logs:PutLogEvents arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-publish:*",
    ])
    error_message = "publish may do something else: ${output.functions["publish"].policy}"
  }
}

run "sweep_may_do_this_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.functions["sweep"].policy).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}${try(" for ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])}", "")}${try(" in ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:Attributes"])}", "")}"]
      ]
      ])) == sort([
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/catalog-key-MnOpQr",
      "Allow dynamodb:BatchGetItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #products c#* d#* l#* p#* r#* s#* t#* u#*",
      "Allow dynamodb:GetItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #products c#* d#* l#* p#* r#* s#* t#* u#*",
      "Allow dynamodb:Query arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #products c#* d#* l#* p#* r#* s#* t#* u#*",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for d#* p#* s#*",
      "Allow dynamodb:PutItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for c#* r#* t#* u#* x#*",
      "Allow dynamodb:DeleteItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for c#* l#* q#* r#* s#* t#* u#*",
      "Allow s3:ListBucketVersions arn:aws:s3:::tidegate-images-123456789012-eu-west-1",
      "Allow s3:DeleteObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*",
      "Allow s3:DeleteObjectVersion arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*",
      "Allow dynamodb:Scan arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate",
      "Allow s3:DeleteObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/catalogs/*",
      "Allow s3:PutObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/catalogs/*",
      "Allow s3:GetObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/fleet/*",
      "Allow s3:PutObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/fleet/*",
      "Allow s3:ListBucket arn:aws:s3:::tidegate-images-123456789012-eu-west-1",
      "Allow sqs:SendMessage arn:aws:sqs:eu-west-1:123456789012:tidegate-dead-letters",
      "Allow logs:CreateLogStream arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-sweep:*",
      "Allow logs:PutLogEvents arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-sweep:*",
    ])
    error_message = "sweep may do something else: ${output.functions["sweep"].policy}"
  }
}

run "verify_may_do_this_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.functions["verify"].policy).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}${try(" for ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])}", "")}${try(" in ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:Attributes"])}", "")}"]
      ]
      ])) == sort([
      "Allow dynamodb:Query arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #verify",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #verify",
      "Allow dynamodb:PutItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for v#*",
      "Allow dynamodb:DeleteItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #verify",
      "Allow s3:GetObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*",
      "Allow s3:ListBucket arn:aws:s3:::tidegate-images-123456789012-eu-west-1",
      "Allow logs:CreateLogStream arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-verify:*",
      "Allow logs:PutLogEvents arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-verify:*",
    ])
    error_message = "verify may do something else: ${output.functions["verify"].policy}"
  }
}

run "with_a_cdn_check_signs_no_url_of_the_bucket" {
  command = plan

  variables {
    cdn = { public_key_pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoeoV+xIY73ytOOH8Pa6hvvkeE7za\nAGd+CQj++Ym3rug4FF2eYbNb4r0tar+xZ3jg9WpiV87s9w3TLYeWc1JgUQ==\n-----END PUBLIC KEY-----\n" }
  }

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.functions["check"].policy).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}${try(" for ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])}", "")}${try(" in ${join(" ", statement.Condition["ForAllValues:StringLike"]["dynamodb:Attributes"])}", "")}"]
      ]
      ])) == sort([
      "Allow dynamodb:GetItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #products d#* p#* s#*",
      "Allow dynamodb:Query arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for #products d#* p#* s#*",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for d#* q#* s#*",
      "Allow dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate for p#* in catalog_name_* catalog_revision_* pk sk",
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/token-keys-AbCdEf",
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/catalog-key-MnOpQr",
      "Allow s3:GetObject arn:aws:s3:::tidegate-images-123456789012-eu-west-1/catalogs/*",
      "Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-west-1:123456789012:secret:tidegate/cdn-key-AbCdEf",
      "Allow logs:CreateLogStream arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-check:*",
      "Allow logs:PutLogEvents arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/tidegate-check:*",
    ])
    error_message = "check may do something else: ${output.functions["check"].policy}"
  }
}

run "the_schedule_may_start_sweep_and_verify_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(aws_iam_role_policy.schedule.policy).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}"]
      ]
      ])) == sort([
      "Allow lambda:InvokeFunction arn:aws:lambda:eu-west-1:123456789012:function:tidegate-sweep:live",
      "Allow lambda:InvokeFunction arn:aws:lambda:eu-west-1:123456789012:function:tidegate-verify:live",
      "Allow sqs:SendMessage arn:aws:sqs:eu-west-1:123456789012:tidegate-dead-letters",
    ])
    error_message = "the schedule may do something else: ${aws_iam_role_policy.schedule.policy}"
  }
}

run "a_viewer_may_call_this_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.operator_policies["viewer"].json).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}"]
      ]
      ])) == sort([
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/GET/v1/products/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/GET/otao/api/v1/applications/*",
    ])
    error_message = "the viewer may call something else: ${output.operator_policies["viewer"].json}"
  }
}

run "a_publisher_may_call_this_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.operator_policies["publisher"].json).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}"]
      ]
      ])) == sort([
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/GET/v1/products/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/GET/otao/api/v1/applications/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/pause",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/abort",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/stop",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/PATCH/v1/products/*/updates/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/upload",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/DELETE/v1/products/*/updates/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/retry",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/devices/*/retry",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/PUT/v1/products/*/devices/*/tags/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/DELETE/v1/products/*/devices/*/tags/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/otao/api/v1/applications/*/software",
    ])
    error_message = "the publisher may call something else: ${output.operator_policies["publisher"].json}"
  }
}

run "an_approver_may_call_this_and_nothing_else" {
  command = plan

  assert {
    condition = sort(flatten([
      for statement in jsondecode(output.operator_policies["approver"].json).Statement : [
        for action in statement.Action : [for resource in statement.Resource : "${statement.Effect} ${action} ${resource}"]
      ]
      ])) == sort([
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/GET/v1/products/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/GET/otao/api/v1/applications/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/pause",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/abort",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/stop",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/activate",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/resume",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/complete",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/withdraw",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/reopen",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/rollback",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/advance",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/resume-stopped",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/PUT/v1/products/*/token",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/DELETE/v1/products/*/token",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/DELETE/v1/products/*/devices/*/token",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/DELETE/v1/products/*/devices/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/retry",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/updates/*/void",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/PUT/v1/products/*/updates/*/assigned",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/DELETE/v1/products/*/updates/*/assigned",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/devices/*/retry",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/devices/*/hold",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/devices/*/pin",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/devices/*/release",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/POST/v1/products/*/devices/*/forget",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/PUT/v1/products/*/devices/*/tags/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/DELETE/v1/products/*/devices/*/tags/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/PATCH/v1/products/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/PUT/otao/api/v1/applications/*/software/*",
      "Allow execute-api:Invoke arn:aws:execute-api:eu-west-1:123456789012:api/$default/DELETE/otao/api/v1/applications/*/software/*",
    ])
    error_message = "the approver may call something else: ${output.operator_policies["approver"].json}"
  }
}

run "a_publisher_cannot_start_what_they_wrote" {
  command = plan

  assert {
    condition = !anytrue([
      for call in local.operator_calls.publisher : anytrue([for verb in ["activate", "resume", "resume-stopped", "withdraw", "complete", "reopen", "rollback", "advance", "void", "assigned", "hold", "pin", "release", "forget", "token"] : endswith(call, verb)])
    ])
    error_message = "a publisher may call ${jsonencode(local.operator_calls.publisher)}"
  }
}

run "every_statement_on_the_table_names_its_items" {
  command = plan

  # The weekly recount reads all items: a scan has no leading keys.
  assert {
    condition     = { for name, function in output.functions : name => [for statement in jsondecode(function.policy).Statement : statement.Resource if statement.Sid == "Scan"] if strcontains(function.policy, "dynamodb:Scan") } == { sweep = [["arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate"]] }
    error_message = "another function than the sweep may scan, or another table"
  }

  assert {
    condition = alltrue(flatten([
      for function in output.functions : [
        for statement in jsondecode(function.policy).Statement : [
          can(statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]),
          length(setsubtract(keys(try(statement.Condition, {})), ["ForAllValues:StringEquals", "ForAllValues:StringLike", "StringEqualsIfExists"])) == 0,
          !contains(statement.Action, "dynamodb:Scan"),
        ] if contains(statement.Resource, "arn:aws:dynamodb:eu-west-1:123456789012:table/tidegate") && statement.Action != ["dynamodb:Scan"]
      ]
    ]))
    error_message = "a function may do something with every item of the table"
  }

  assert {
    condition     = alltrue(flatten([for access in values(local.table_access) : [for grant in values(access) : [for key in grant.keys : can(regex("^([a-z]#[*]|#products|#verify)$", key))]]]))
    error_message = "a pattern does not name exactly one kind of item: ${jsonencode(local.table_access)}"
  }
}

run "only_publish_and_the_sweep_compile_and_only_they_and_count_steer" {
  command = plan

  assert {
    condition     = [for name, function in output.functions : name if strcontains(function.policy, "s3:PutObject") && strcontains(function.policy, "catalogs/*")] == ["publish", "sweep"]
    error_message = "another function may write catalogs"
  }

  # Only a grant and those who open, shut or raise may write a shard.
  assert {
    condition     = [for name, access in local.table_access : name if contains(flatten([for grant in values(access) : grant.keys if !contains(grant.actions, "GetItem")]), "s#*")] == ["check", "count", "publish", "sweep"]
    error_message = "another function may write shards"
  }

  # The audit log is only added to.
  assert {
    condition     = !anytrue(flatten([for access in values(local.table_access) : [for grant in values(access) : contains(grant.keys, "x#*") if length(setintersection(grant.actions, ["DeleteItem", "UpdateItem"])) > 0]]))
    error_message = "a function may change entries of the audit log"
  }
}

run "only_those_who_say_so_may_take_a_role" {
  command = plan

  assert {
    condition     = [for function in module.function : [for statement in jsondecode(function.assume_role_policy).Statement : statement.Principal]] == [for function in module.function : [{ Service = "lambda.amazonaws.com" }]]
    error_message = "a function's role may be taken by others than Lambda"
  }

  assert {
    condition     = jsondecode(aws_iam_role.schedule.assume_role_policy).Statement[0].Principal == { Service = "scheduler.amazonaws.com" } && jsondecode(aws_iam_role.schedule.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    error_message = "the schedule's role may be taken by ${aws_iam_role.schedule.assume_role_policy}"
  }
}

run "only_the_api_may_call_the_functions_behind_it" {
  command = plan

  assert {
    condition     = keys(aws_lambda_permission.api) == ["check", "publish", "report"] && alltrue([for permission in aws_lambda_permission.api : permission.principal == "apigateway.amazonaws.com" && permission.source_arn == "arn:aws:execute-api:eu-west-1:123456789012:api/*/*" && permission.qualifier == "live"])
    error_message = "the permissions are ${jsonencode(aws_lambda_permission.api)}"
  }
}

run "no_grant_but_tracing_is_for_everything" {
  command = plan

  variables {
    tracing = true
  }

  assert {
    condition = toset(flatten([
      for function in output.functions : [for statement in jsondecode(function.policy).Statement : statement.Action if contains(statement.Resource, "*")]
    ])) == toset(["xray:PutTelemetryRecords", "xray:PutTraceSegments"])
    error_message = "an action is allowed on everything"
  }
}

run "nobody_makes_log_groups_at_run_time" {
  command = plan

  assert {
    condition     = !anytrue([for function in output.functions : strcontains(function.policy, "logs:CreateLogGroup")])
    error_message = "a function may make log groups, which would never expire"
  }
}

run "the_bucket_refuses_plain_http_and_old_signatures" {
  command = plan

  assert {
    condition = jsondecode(aws_s3_bucket_policy.images.policy).Statement == [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["s3:*"]
        Resource  = ["arn:aws:s3:::tidegate-images-123456789012-eu-west-1", "arn:aws:s3:::tidegate-images-123456789012-eu-west-1/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "NoOldDownloads"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource  = ["arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*"]
        Condition = { NumericGreaterThan = { "s3:signatureAge" = "900000" } }
      },
      {
        Sid       = "NoOldUploads"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["s3:PutObject"]
        Resource  = ["arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*"]
        Condition = { NumericGreaterThan = { "s3:signatureAge" = "3600000" } }
      },
    ]
    error_message = "the bucket's policy is ${aws_s3_bucket_policy.images.policy}"
  }
}

run "with_a_cdn_the_bucket_answers_that_distribution_alone" {
  command = plan

  variables {
    cdn = { public_key_pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoeoV+xIY73ytOOH8Pa6hvvkeE7za\nAGd+CQj++Ym3rug4FF2eYbNb4r0tar+xZ3jg9WpiV87s9w3TLYeWc1JgUQ==\n-----END PUBLIC KEY-----\n" }
  }

  assert {
    condition = [for statement in jsondecode(aws_s3_bucket_policy.images.policy).Statement : statement if statement.Effect == "Allow"] == [{
      Sid       = "Cdn"
      Effect    = "Allow"
      Principal = { Service = "cloudfront.amazonaws.com" }
      Action    = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource  = ["arn:aws:s3:::tidegate-images-123456789012-eu-west-1/images/*"]
      Condition = { StringEquals = { "aws:SourceArn" = "arn:aws:cloudfront::123456789012:distribution/IMAGES" } }
    }]
    error_message = "the bucket's policy is ${aws_s3_bucket_policy.images.policy}"
  }
}
