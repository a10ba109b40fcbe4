output "api_url" {
  description = "URL of the API for devices and operators."
  value       = var.domain == null ? aws_apigatewayv2_api.this.api_endpoint : "https://${var.domain.name}"
}

output "api_id" {
  description = "Id of the HTTP API."
  value       = aws_apigatewayv2_api.this.id
}

output "domain_target" {
  description = "Target of the domain's DNS alias: host name and hosted zone. Null without a domain."
  value = one([for domain in aws_apigatewayv2_domain_name.this : {
    host_name      = domain.domain_name_configuration[0].target_domain_name
    hosted_zone_id = domain.domain_name_configuration[0].hosted_zone_id
  }])
}

output "table_name" {
  description = "Name of the table."
  value       = aws_dynamodb_table.this.name
}

output "bucket_name" {
  description = "Name of the image bucket."
  value       = aws_s3_bucket.images.bucket
}

output "functions" {
  description = "Name, alias, role, log group and permissions (JSON) of each function."
  value = { for name, function in module.function : name => {
    name           = function.function_name
    alias_arn      = function.alias_arn
    role_name      = function.role_name
    role_arn       = function.role_arn
    log_group_name = function.log_group_name
    policy         = function.policy
  } }
}

output "routes" {
  description = "Every route of the API with its function and its authorization."
  value       = local.routes
}

output "token_keys_secret_arn" {
  description = "The secret with the keys of device tokens. To rotate them, put a new value into the secret, then change token_keys_revision."
  value       = aws_secretsmanager_secret.token_keys.arn
}

output "cdn_url" {
  description = "URL of image downloads. Null without a CDN."
  value       = local.cdn_url
}

output "cdn_domain_name" {
  description = "CloudFront's own name for the distribution, for the DNS alias of cdn.domain. Null without a CDN."
  value       = one(aws_cloudfront_distribution.images[*].domain_name)
}

output "cdn_key_secret_arn" {
  description = "The secret for the private key of cdn.public_key_pem. Null without a CDN."
  value       = one(aws_secretsmanager_secret.cdn_key[*].arn)
}

output "operator_policies" {
  description = "ARN and JSON of the managed policies viewer, publisher and approver. Attach them to people's roles."
  value       = { for name, policy in aws_iam_policy.operator : name => { arn = policy.arn, json = policy.policy } }
}

output "dead_letter_queue_url" {
  description = "The queue with sweeps that could not start or failed twice."
  value       = aws_sqs_queue.dead_letters.url
}

output "dashboard_name" {
  description = "Name of the CloudWatch dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}

output "alarm_names" {
  description = "Names of all alarms."
  value       = local.alarm_names
}
