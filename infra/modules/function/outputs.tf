output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "alias_name" {
  description = "Name of the alias that callers use."
  value       = aws_lambda_alias.live.name
}

output "alias_arn" {
  description = "ARN of the alias that callers use."
  value       = aws_lambda_alias.live.arn
}

output "invoke_arn" {
  description = "Invoke ARN of the alias, for API Gateway."
  value       = aws_lambda_alias.live.invoke_arn
}

output "role_name" {
  description = "Name of the function's role."
  value       = aws_iam_role.this.name
}

output "role_arn" {
  description = "ARN of the function's role."
  value       = aws_iam_role.this.arn
}

output "log_group_name" {
  description = "Name of the function's log group."
  value       = aws_cloudwatch_log_group.this.name
}

output "policy" {
  description = "Permissions of the function, as JSON."
  value       = aws_iam_role_policy.this.policy
}

output "assume_role_policy" {
  description = "Trust policy of the function's role, as JSON."
  value       = aws_iam_role.this.assume_role_policy
}

output "configuration" {
  description = "Configuration of the Lambda function, for tests of the stack."
  value = {
    architecture         = one(aws_lambda_function.this.architectures)
    runtime              = aws_lambda_function.this.runtime
    memory_mb            = aws_lambda_function.this.memory_size
    timeout_s            = aws_lambda_function.this.timeout
    reserved_concurrency = aws_lambda_function.this.reserved_concurrent_executions
    environment          = one(aws_lambda_function.this.environment[*].variables)
    logging              = one(aws_lambda_function.this.logging_config)
    tracing              = one(aws_lambda_function.this.tracing_config[*].mode)
    log_group            = { name = aws_cloudwatch_log_group.this.name, retention_days = aws_cloudwatch_log_group.this.retention_in_days }
    alias                = aws_lambda_alias.live.name
    is_published         = aws_lambda_function.this.publish
  }
}
